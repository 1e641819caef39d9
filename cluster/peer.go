package cluster

import (
	"context"
	"errors"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	pingEvery = time.Second
	// hungAfter is how long a replica that is still listed may be silent before it counts as gone.
	hungAfter = 5 * time.Second
)

// peer is another replica with which calls are under way, either way. All is guarded by Node.mu.
type peer struct {
	id    string
	out   map[uint64]*outgoing
	in    map[uint64]*incoming
	heard time.Time // when it last gave a sign of life
}

// peer finds or makes the peer; nil when there are too many. The caller holds n.mu, and the node is not closed or the peer
// is not kept.
func (n *Node) peer(id string) *peer {
	p := n.peers[id]
	if p != nil || len(n.peers) >= maxPeers || n.closed {
		return p
	}
	p = &peer{id: id, out: map[uint64]*outgoing{}, in: map[uint64]*incoming{}, heard: time.Now()}
	n.peers[id] = p
	n.served.Go(func() { n.watch(p) })
	return p
}

// watch pings a replica while calls are under way with it. One that is gone has the time until the next ping: what it sent last,
// answers and refusals, may still be on its way.
func (n *Node) watch(p *peer) {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for gone := false; ; {
		select {
		case <-tick.C:
		case <-n.life.Done():
			return
		}
		out, in, silence, idle := n.underWay(p)
		if idle {
			return
		}
		err := n.send(n.life, p.id, &frame{typ: framePing, body: encodeIDs(out, in)})
		if err == nil && silence > hungAfter {
			err = errs.E("cluster", errs.Lost, "%w: replica %.32q has not answered for %v; begin the interaction anew",
				ErrGone, p.id, silence.Round(time.Second))
		}
		was := gone
		if gone = errors.Is(err, ErrGone); gone && was {
			n.lose(p, err)
		}
	}
}

// underWay lists the calls with a replica, and forgets one with which there are none.
func (n *Node) underWay(p *peer) (out, in []uint64, silence time.Duration, idle bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(p.out) == 0 && len(p.in) == 0 {
		delete(n.peers, p.id)
		return nil, nil, 0, true
	}
	for id, c := range p.out {
		if c.sent {
			out = append(out, id)
		}
	}
	for id := range p.in {
		in = append(in, id)
	}
	return out, in, time.Since(p.heard), false
}

// lose ends all calls with a replica.
func (n *Node) lose(p *peer, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, c := range p.out {
		c.fail(err)
	}
	for _, c := range p.in {
		c.cancel(err)
	}
}

// fail ends all calls with all replicas.
func (n *Node) fail(err error) {
	n.mu.Lock()
	peers := make([]*peer, 0, len(n.peers))
	for _, p := range n.peers {
		peers = append(peers, p)
	}
	n.mu.Unlock()
	for _, p := range peers {
		n.lose(p, err)
	}
}

// ponged answers a ping with the calls in it that are not known here.
func (n *Node) ponged(f *frame) {
	calls, served, err := decodeIDs(f.body)
	if err != nil {
		return
	}
	n.mu.Lock()
	p := n.peers[f.sender]
	if p != nil {
		p.heard = time.Now()
	}
	if calls = strangers(calls, func(id uint64) bool { return p != nil && p.in[id] != nil }); n.refusing {
		calls = nil // each was answered, or is told that it is refused
	}
	served = strangers(served, func(id uint64) bool { return p != nil && p.out[id] != nil })
	n.mu.Unlock()
	n.control(f.sender, &frame{typ: framePong, body: encodeIDs(calls, served)})
}

func strangers(ids []uint64, known func(uint64) bool) []uint64 {
	var unknown []uint64
	for _, id := range ids {
		if !known(id) {
			unknown = append(unknown, id)
		}
	}
	return unknown
}

// progress hands a frame to the call it belongs to, which must be one with its sender.
func (n *Node) progress(f *frame) {
	n.mu.Lock()
	defer n.mu.Unlock()
	p := n.peers[f.sender]
	if p == nil {
		return
	}
	p.heard = time.Now()
	out, in := p.out[f.call], p.in[f.call]
	switch {
	case f.typ == framePong:
		p.unknown(f)
	case out != nil && (f.typ == frameNote || f.typ == frameAnswer || f.typ == frameError || f.typ == frameRefused):
		out.push(f)
	case in != nil && f.typ == frameCancel:
		in.cancel(context.Canceled)
	case in != nil && f.typ == frameCredit:
		in.credited(f)
	}
}

// unknown ends the calls that the other replica does not know.
func (p *peer) unknown(f *frame) {
	calls, served, err := decodeIDs(f.body)
	if err != nil {
		return
	}
	for _, id := range calls {
		if c := p.out[id]; c != nil {
			c.fail(errs.E("cluster", errs.Lost, "replica %.32q does not know the call any more; call again", p.id))
		}
	}
	for _, id := range served {
		if c := p.in[id]; c != nil {
			c.cancel(context.Canceled)
		}
	}
}
