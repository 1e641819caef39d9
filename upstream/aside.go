package upstream

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

const (
	asidesMost = 4               // children of a server besides the one that all calls share
	asideIdle  = time.Minute     // an unused one is stopped after this
	asideCheck = 5 * time.Second // how often that is looked at
)

// asides are further children of a legacy server, each of which carries out one call at a time. They take the calls that come
// while a call waits for its client's answers in the shared child: there nobody could tell whose the next question is, so that
// one client that never answers would keep all others from being asked.
type asides struct {
	mu    sync.Mutex
	all   []*aside
	after time.Time // none is started before
}

type aside struct {
	shared[instance]
	busy bool // a call is being sent to it or awaited; guarded by asides.mu
	used time.Time
}

// needsAside tells whether a call should not go to the shared child.
func (in *instance) needsAside(c *Call) bool {
	if in.peer.Modern || in.peer.HasTasks() || !mayBeAsked(c) {
		return false // a child knows only its own tasks
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, w := range in.pending {
		if w.parked {
			return true
		}
	}
	return false
}

func mayBeAsked(c *Call) bool {
	switch c.In.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet, mcp.MethodResourcesRead:
		return c.abilities() != 0
	}
	return false
}

// take finds a child that does nothing, or makes room for another; nil when there are as many as there may be.
func (a *asides) take() *aside {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, other := range a.all {
		if in := other.peek(); !other.busy && (in == nil || !in.busyAtAll()) {
			other.busy = true
			return other
		}
	}
	if len(a.all) >= asidesMost || time.Now().Before(a.after) {
		return nil
	}
	one := &aside{busy: true}
	a.all = append(a.all, one)
	return one
}

// failed takes out one that could not be started; the next start is made later.
func (a *asides) failed(one *aside) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.remove(one)
	a.after = time.Now().Add(retryMost)
}

func (a *asides) remove(one *aside) {
	a.all = slices.DeleteFunc(a.all, func(other *aside) bool { return other == one })
}

func (a *asides) giveBack(one *aside) {
	a.mu.Lock()
	one.busy, one.used = false, time.Now()
	a.mu.Unlock()
}

// doAside carries out a call in a child of its own; false when there is none to be had.
func (l *stdioLink) doAside(ctx context.Context, c *Call, out *mcp.Raw) (done bool, err error) {
	one := l.asides.take()
	if one == nil {
		return false, nil
	}
	defer l.asides.giveBack(one)
	in, err := one.get(ctx, l.s, func(ctx context.Context) (*instance, error) { return l.startAside(ctx, one) })
	if err != nil {
		l.asides.failed(one)
		return ctx.Err() != nil, err
	}
	if c.Client.LogLevel != "" {
		if err := in.setLevel(ctx, c.Client.LogLevel); err != nil {
			return true, err
		}
	}
	return true, in.call(ctx, false, c, out)
}

func (l *stdioLink) startAside(ctx context.Context, one *aside) (*instance, error) {
	in, err := l.launch(ctx, one.drop)
	if err != nil {
		return nil, err
	}
	l.s.log.Info("further process started: a call waits for its client in the shared one")
	if !l.s.spawn(func(ctx context.Context) { l.asides.watch(ctx, one, in) }) {
		in.stop()
		return nil, l.s.closedError()
	}
	return in, nil
}

// watch stops a child when it was not used for a while, or the server's life ends.
func (a *asides) watch(ctx context.Context, one *aside, in *instance) {
	t := time.NewTicker(asideCheck)
	defer t.Stop()
	for {
		select {
		case <-in.gone:
			return
		case <-ctx.Done():
			in.stop()
			<-in.gone
			return
		case <-t.C:
		}
		if a.retire(one, in) {
			in.stop()
			<-in.gone
			return
		}
	}
}

// retire takes an unused child out.
func (a *asides) retire(one *aside, in *instance) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if one.busy || in.busyAtAll() || time.Since(one.used) < asideIdle {
		return false
	}
	a.remove(one)
	return true
}
