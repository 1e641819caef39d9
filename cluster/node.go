// Package cluster is what the replicas of a gateway share: a bus between them, small facts of sessions, and leases.
//
//	Node.Call ──request──► inbox of the replica ──► handler
//	          ◄──notes, answer── own inbox ◄──────┘
//
// A Node speaks to the others through a Backend: memory, for replicas in one process, or Redis. Everything on the bus and in
// the store is sealed with the key ring. The bus may lose messages when its backend goes away, so what was under way then
// fails, on both sides, with ErrDown. While a call is under way both replicas ping each other, so neither waits for a dead one.
package cluster

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/seal"
)

const (
	// window is how much the clocks of replicas may differ, and how long a message on the bus is good.
	window = time.Minute
	// busKind is the kind of seal of messages, everyone the binding of those for all.
	busKind  = "bus"
	everyone = "*"

	maxInbox    = 1024 // messages that wait to be looked at
	maxTold     = 1024 // broadcasts that wait to be told
	maxCalls    = 16384
	maxServed   = 4096
	maxPeers    = 1024
	maxControls = 64 // short messages that are on their way at once
	complain    = time.Minute
)

// Options are what a Node needs.
type Options struct {
	Backend Backend
	// Ring gives the keys that messages between replicas are sealed with; nil for keys that only this process has.
	Ring func() *seal.Ring
	Log  *slog.Logger
	// ID names the replica; empty makes a random one.
	ID string
}

// Handler serves calls of a kind. note sends something before the answer; it blocks while the caller is slow. The context
// ends when the caller's does, or when either replica cannot reach the other any more.
type Handler = func(ctx context.Context, request []byte, note func([]byte)) ([]byte, error)

// Node is this replica among the others. It is safe for concurrent use.
type Node struct {
	o     Options
	leave func()
	life  context.Context //nolint:containedctx // of all handlers and hooks
	end   context.CancelCauseFunc

	inbox    chan delivery
	told     chan frame
	missed   atomic.Bool // a broadcast found told full
	done     chan struct{}
	served   sync.WaitGroup // handlers and hooks
	loops    sync.WaitGroup
	controls chan struct{}
	seen     seen
	silent   atomic.Int64 // until when nothing is complained about, in Unix nanoseconds

	mu         sync.Mutex
	closed     bool
	handlers   map[string]Handler
	broadcasts map[string][]func([]byte)
	reconnects []func()
	calls      int
	serving    int
	peers      map[string]*peer
}

type delivery struct {
	broadcast bool
	message   []byte
}

var processRing = sync.OnceValue(func() *seal.Ring {
	key := make([]byte, seal.KeySize)
	rand.Read(key)
	r, err := seal.NewRing(key)
	if err != nil {
		panic(err) // 32 random bytes are a key
	}
	return r
})

// New joins the replicas.
func New(o Options) *Node {
	if o.ID == "" {
		var id [8]byte
		rand.Read(id[:])
		o.ID = hex.EncodeToString(id[:])
	}
	if o.Ring == nil {
		o.Ring = processRing
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	n := &Node{
		o: o, inbox: make(chan delivery, maxInbox), told: make(chan frame, maxTold), done: make(chan struct{}), controls: make(chan struct{}, maxControls),
		handlers: map[string]Handler{}, broadcasts: map[string][]func([]byte){}, peers: map[string]*peer{},
	}
	n.life, n.end = context.WithCancelCause(context.Background())
	n.loops.Go(n.receive)
	n.loops.Go(n.tell)
	n.leave = o.Backend.Join(o.ID, Callbacks{Deliver: n.deliver, Connected: n.connected})
	return n
}

// ID names this replica.
func (n *Node) ID() string { return n.o.ID }

// Close leaves. What is under way ends with an error, also at the other replicas. The backend stays open: it belongs to
// who made it.
func (n *Node) Close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	n.mu.Unlock()
	n.end(stopping())
	n.served.Wait()
	n.fail(stopping())
	n.leave()
	close(n.done)
	n.loops.Wait()
}

func stopping() error {
	return errs.E("cluster", errs.Lost, "the replica that held the interaction is stopping; begin it anew")
}

// Handle registers what serves calls of a kind; before any can come. An *errs.Error arrives at the caller as it is.
func (n *Node) Handle(kind string, f Handler) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.handlers[kind] = f
}

// OnBroadcast registers what is told of broadcasts of a kind. One is told after the other; when that takes so long that some
// are lost, what OnReconnect registered is called.
func (n *Node) OnBroadcast(kind string, f func(body []byte)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.broadcasts[kind] = append(n.broadcasts[kind], f)
}

// OnReconnect registers what is called when the backend has become reachable: what was told before that was missed.
func (n *Node) OnReconnect(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.reconnects = append(n.reconnects, f)
}

// Alone tells whether there can be no other replica.
func (n *Node) Alone() bool { return n.o.Backend.Alone() }

// Status tells how the backend is reached.
func (n *Node) Status() Status { return n.o.Backend.Status() }

// Broadcast tells all other replicas.
func (n *Node) Broadcast(ctx context.Context, kind string, body []byte) error {
	if n.Alone() {
		return nil
	}
	message, err := n.seal(everyone, &frame{typ: frameBroadcast, call: newID(), kind: kind, body: body})
	if err != nil {
		return err
	}
	return said(n.o.Backend.Broadcast(ctx, message), "")
}

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
	case n.inbox <- delivery{broadcast, message}:
	case <-n.done:
	}
}

// receive looks at what comes in. It never waits for anything but the next message.
func (n *Node) receive() {
	for {
		select {
		case d := <-n.inbox:
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
		case <-n.done:
			return
		}
		if len(n.told) == 0 && n.missed.Swap(false) {
			n.hooks()
		}
	}
}

// connected fails what was under way when messages may have been lost, and tells when they arrive again.
func (n *Node) connected(up bool) {
	if !up {
		n.fail(said(ErrDown, ""))
		return
	}
	n.hooks()
}

// hooks calls what OnReconnect registered.
func (n *Node) hooks() {
	n.mu.Lock()
	hooks := slices.Clone(n.reconnects)
	n.mu.Unlock()
	n.spawn(func() {
		for _, hook := range hooks {
			hook()
		}
	})
}

func newID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
