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
	hearing     = 500 * time.Millisecond // how long a broadcast waits for the others to hear it
	// farewellTime is how long it may take a replica that leaves to refuse what came last.
	farewellTime = time.Second
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
	hide  func() // from the others
	leave func()
	life  context.Context //nolint:containedctx // of all handlers and hooks
	end   context.CancelCauseFunc

	parting context.Context //nolint:containedctx // of all refusals
	cut     context.CancelFunc

	inbox    chan delivery
	refusals chan refusal // guarded by mu; nil once none is sent any more
	told     chan frame
	missed   atomic.Bool   // a broadcast found told full
	hooking  atomic.Int64  // how often hooks was called while it goes on
	refused  chan struct{} // closed when the last refusal was sent
	done     chan struct{}
	served   sync.WaitGroup // handlers and hooks
	loops    sync.WaitGroup
	controls chan struct{}
	seen     seen
	silent   atomic.Int64 // until when nothing is complained about, in Unix nanoseconds

	strangers atomic.Pointer[[]Stranger]

	mu         sync.Mutex
	closed     bool
	refusing   bool // calls of others
	handlers   map[string]Handler
	broadcasts map[string][]func([]byte)
	reconnects []func()
	calls      int
	awaited    map[uint64]chan struct{} // broadcasts that others are still to hear
	idle       chan struct{}            // told when serving falls to 0
	serving    int
	peers      map[string]*peer
}

type delivery struct {
	broadcast bool
	message   []byte
	looked    chan struct{} // instead of a message: closed when all before it has been looked at
}

// refusal is of a call that another replica is told was not begun.
type refusal struct {
	replica string
	call    uint64
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
		o: o, inbox: make(chan delivery, maxInbox), told: make(chan frame, maxTold), controls: make(chan struct{}, maxControls),
		refusals: make(chan refusal, maxServed), idle: make(chan struct{}, 1), done: make(chan struct{}),
		handlers: map[string]Handler{}, broadcasts: map[string][]func([]byte){}, peers: map[string]*peer{},
		awaited: map[uint64]chan struct{}{}, refused: make(chan struct{}),
	}
	n.life, n.end = context.WithCancelCause(context.Background())
	n.parting, n.cut = context.WithCancel(context.Background())
	n.loops.Go(n.receive)
	n.loops.Go(n.tell)
	n.hide, n.leave = o.Backend.Join(o.ID, Callbacks{Deliver: n.deliver, Connected: n.connected})
	n.loops.Go(n.meet)
	return n
}

// ID names this replica.
func (n *Node) ID() string { return n.o.ID }

// Drain waits until no call of another replica is served here, or ctx ends.
func (n *Node) Drain(ctx context.Context) {
	for {
		n.mu.Lock()
		serving := n.serving
		n.mu.Unlock()
		if serving == 0 {
			return
		}
		select {
		case <-n.idle:
		case <-ctx.Done():
			return
		}
	}
}

// Refuse has no call of another replica begun from now on. Those who make one get ErrUnsent with ErrGone, as they do when this
// replica is gone.
func (n *Node) Refuse() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse()
}

// refuse is Refuse where the caller holds the lock.
func (n *Node) refuse() {
	if !n.refusing {
		n.refusing = true
		refusals := n.refusals
		n.loops.Go(func() { n.sendRefusals(refusals) })
	}
}

// Close leaves. What is under way ends with an error, also at the other replicas; what others sent and was not begun yet, with
// ErrUnsent. The backend stays open: it belongs to who made it.
func (n *Node) Close() {
	n.mu.Lock()
	if n.closed {
		n.mu.Unlock()
		return
	}
	n.closed = true
	n.refuse()
	n.mu.Unlock()
	n.end(stopping())
	n.served.Wait()
	n.fail(stopping())
	n.hide()
	n.farewell()
	n.leave()
	close(n.done)
	n.loops.Wait()
}

// farewell refuses what came until nothing came any more.
func (n *Node) farewell() {
	looked := make(chan struct{})
	n.inbox <- delivery{looked: looked}
	<-looked
	n.mu.Lock()
	close(n.refusals)
	n.refusals = nil
	n.mu.Unlock()
	late := time.AfterFunc(farewellTime, n.cut)
	<-n.refused
	late.Stop()
	n.cut()
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

// Tried is closed when the first attempt to reach the backend has ended, well or not.
func (n *Node) Tried() <-chan struct{} { return n.o.Backend.Tried() }

// Broadcast tells all other replicas, and returns when they have heard it, so that what is asked of any of them afterwards
// is answered accordingly. One that is slow or hangs is waited for half a second.
func (n *Node) Broadcast(ctx context.Context, kind string, body []byte) error {
	_, err := n.Announce(ctx, hearing, kind, body)
	return err
}

// Announce is Broadcast for those who must know whether all have heard it: unheard is how many have not within the time.
func (n *Node) Announce(ctx context.Context, within time.Duration, kind string, body []byte) (unheard int, err error) {
	if n.Alone() {
		return 0, nil
	}
	call := newID()
	message, err := n.seal(everyone, &frame{typ: frameBroadcast, call: call, kind: kind, body: body})
	if err != nil {
		return 0, err
	}
	heard := n.hear(call)
	defer n.settled(call)
	all, err := n.o.Backend.Broadcast(ctx, message)
	if err != nil {
		return 0, said(err, "")
	}
	limit := time.NewTimer(within)
	defer limit.Stop()
	for unheard = all - 1; unheard > 0; unheard-- { // this replica is one of them
		select {
		case <-heard:
		case <-limit.C:
			return unheard, nil
		case <-ctx.Done():
			return unheard, nil
		case <-n.life.Done():
			return unheard, nil
		}
	}
	return 0, nil
}

// hear makes room for the signs that a broadcast was heard.
func (n *Node) hear(call uint64) <-chan struct{} {
	heard := make(chan struct{}, maxPeers)
	n.mu.Lock()
	defer n.mu.Unlock()
	if len(n.awaited) < maxCalls {
		n.awaited[call] = heard
	}
	return heard
}

func (n *Node) settled(call uint64) {
	n.mu.Lock()
	delete(n.awaited, call)
	n.mu.Unlock()
}

func (n *Node) heard(call uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case n.awaited[call] <- struct{}{}:
	default: // nobody waits any more
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

// hooks calls what OnReconnect registered; once more afterwards when that goes on already.
func (n *Node) hooks() {
	if n.hooking.Add(1) > 1 {
		return
	}
	n.spawn(func() {
		for more := true; more; {
			asked := n.hooking.Load()
			n.mu.Lock()
			hooks := slices.Clone(n.reconnects)
			n.mu.Unlock()
			for _, hook := range hooks {
				hook()
			}
			more = !n.hooking.CompareAndSwap(asked, 0)
		}
	})
}

func newID() uint64 {
	var b [8]byte
	rand.Read(b[:])
	return binary.BigEndian.Uint64(b[:])
}
