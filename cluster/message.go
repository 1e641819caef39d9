package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/seal"
)

// send puts a frame into the inbox of a replica.
func (n *Node) send(ctx context.Context, replica string, f *frame) error {
	if replica == "" || len(replica) > maxReplica {
		return said(ErrGone, replica)
	}
	message, err := n.seal(replica, f)
	if err != nil {
		return err
	}
	return said(n.o.Backend.Send(ctx, replica, message), replica)
}

func (n *Node) seal(target string, f *frame) ([]byte, error) {
	if len(f.body) > MaxMessage || len(f.kind) > maxName {
		return nil, errs.E("cluster", errs.TooLarge, "%d bytes are too many for the bus between replicas: at most %d", len(f.body), MaxMessage)
	}
	f.sender, f.at = n.o.ID, time.Now()
	return n.o.Ring().SealBytes(busKind, []byte(target), f.encode(), window), nil
}

// said gives an error of the backend its kind and words.
func said(err error, replica string) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrGone):
		return errs.E("cluster", errs.Lost, "%w: replica %.32q has ended, and with it what it held; begin the interaction anew", ErrGone, replica)
	case errors.Is(err, ErrDown) && errors.Is(err, ErrUnsent):
		return &unsent{said(ErrDown, replica)}
	case errors.Is(err, ErrDown):
		return errs.E("cluster", errs.Unavailable, "%w; try again when /health/ready shows it connected", ErrDown)
	default:
		return err
	}
}

// control sends a frame without anybody waiting for it. One that is lost is made up for by the next ping.
func (n *Node) control(replica string, f *frame) {
	select {
	case n.controls <- struct{}{}:
	default:
		return
	}
	started := n.spawn(func() {
		defer func() { <-n.controls }()
		if err := n.send(context.Background(), replica, f); err != nil {
			n.o.Log.Debug("cluster: message not sent", "replica", replica, "error", err)
		}
	})
	if !started {
		<-n.controls
	}
}

// spawn runs f on a goroutine that Close waits for, unless the node is closed.
func (n *Node) spawn(f func()) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return false
	}
	n.served.Go(f)
	return true
}

func (n *Node) deliver(broadcast bool, message []byte) {
	select {
	case n.inbox <- delivery{broadcast: broadcast, message: message}:
	case <-n.done:
	}
}

// receive looks at what comes in. It never waits for anything but the next message.
func (n *Node) receive() {
	for {
		select {
		case d := <-n.inbox:
			if d.looked != nil {
				close(d.looked)
				continue
			}
			if f, ok := n.open(d); ok {
				n.dispatch(&f)
			}
		case <-n.done:
			return
		}
	}
}

// open checks that a message is genuine, meant for this replica and of now.
func (n *Node) open(d delivery) (frame, bool) {
	now, target := time.Now(), n.o.ID
	if d.broadcast {
		target = everyone
	}
	plain, err := n.o.Ring().OpenBytes(busKind, []byte(target), d.message, now)
	if errors.Is(err, seal.ErrExpired) {
		n.complain("cluster: message refused: it is too old; are the clocks of all replicas right?")
		return frame{}, false
	}
	if err != nil {
		n.complain("cluster: message refused: it does not open; have all replicas the same seal.keys?")
		return frame{}, false
	}
	f, err := decode(plain)
	switch {
	case err != nil || d.broadcast != (f.typ == frameBroadcast):
		n.complain("cluster: message refused: it is not understood; do all replicas run the same version?")
	case f.at.Sub(now) > window:
		n.complain("cluster: message refused: it is from the future; are the clocks of all replicas right?")
	case d.broadcast && f.sender == n.o.ID:
	case (f.typ == frameRequest || f.typ == frameBroadcast) && n.seen.again(&f, now):
		n.complain("cluster: message refused: it came twice")
	default:
		return f, true
	}
	return frame{}, false
}

// complain logs, at most once a minute: anybody who reaches the backend can put messages there.
func (n *Node) complain(what string) {
	now, until := time.Now(), n.silent.Load()
	if now.UnixNano() >= until && n.silent.CompareAndSwap(until, now.Add(complain).UnixNano()) {
		n.o.Log.Warn(what)
	}
}

func (n *Node) dispatch(f *frame) {
	switch f.typ {
	case frameRequest:
		n.accept(f)
	case frameBroadcast:
		select {
		case n.told <- *f:
		default:
			n.missed.Store(true)
		}
	case framePing:
		n.ponged(f)
	case frameHeard:
		n.heard(f.call)
	default:
		n.progress(f)
	}
}

// tell tells of broadcasts.
func (n *Node) tell() {
	for {
		select {
		case f := <-n.told:
			n.mu.Lock()
			listeners := n.broadcasts[f.kind]
			n.mu.Unlock()
			for _, listen := range listeners {
				listen(f.body)
			}
			n.control(f.sender, &frame{typ: frameHeard, call: f.call})
		case <-n.done:
			return
		}
		if len(n.told) == 0 && n.missed.Swap(false) {
			n.hooks()
		}
	}
}
