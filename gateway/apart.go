package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"sync/atomic"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// apartKind names broadcasts of changed lists of a caller's own instance.
const apartKind = "apart"

// aparts are the instances at other replicas whose lists are not those of every new instance, by lease, as far as was heard.
type aparts struct {
	some atomic.Bool
	mu   sync.Mutex
	all  map[string]bool
}

// apartNote tells of one.
type apartNote struct {
	Server string         `json:"server"`
	Lease  string         `json:"lease"`
	Lists  upstream.Lists `json:"lists"`
}

func (a *aparts) add(lease string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.all == nil || len(a.all) >= seenMost {
		a.all = map[string]bool{}
	}
	a.all[lease] = true
	a.some.Store(true)
}

func (a *aparts) forget(lease string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.all, lease)
	a.some.Store(len(a.all) > 0)
}

// apartAfar tells whether a caller's instance at another replica has lists of its own.
func (f *family) apartAfar(c caller) bool {
	a := &f.g.aparts
	if !a.some.Load() {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.all[f.leaseOf(f.keyOf(c).Name)]
}

// spread tells the other replicas that lists of the instance changed, once at a time.
func (k *kin) spread(lists upstream.Lists) {
	g, key := k.f.g, k.key.Load()
	if key == nil || k.f.remote() || g.o.Node.Alone() {
		return
	}
	k.unsaid.Or(uint32(lists))
	if k.saying.Swap(true) {
		return
	}
	n := apartNote{Server: k.f.plan.Name, Lease: k.f.leaseOf(key.Name)}
	g.retired.Go(func() {
		for {
			n.Lists = upstream.Lists(k.unsaid.Swap(0))
			if n.Lists != 0 {
				g.spread(n)
				continue
			}
			k.saying.Store(false)
			if k.unsaid.Load() == 0 || k.saying.Swap(true) {
				return
			}
		}
	})
}

func (g *Gateway) spread(n apartNote) {
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	body, err := json.Marshal(n)
	if err == nil {
		err = g.o.Node.Broadcast(ctx, apartKind, body)
	}
	if err != nil {
		g.o.Log.Debug("other replicas not told of changed lists", "server", n.Server, "error", err)
	}
}

// respread tells again what may have been missed.
func (g *Gateway) respread() {
	w := g.acquire()
	defer g.release(w)
	for _, m := range w.order {
		if m.family == nil {
			continue
		}
		for _, k := range m.family.pool.All() {
			if k.apart.Load() {
				k.spread(upstream.AllLists)
			}
		}
	}
}

// heardApart takes in what another replica tells of an instance there.
func (g *Gateway) heardApart(body []byte) {
	var n apartNote
	w := g.acquire()
	defer g.release(w)
	if json.Unmarshal(body, &n) != nil || w.members[n.Server] == nil || w.members[n.Server].family == nil {
		return
	}
	f := w.members[n.Server].family
	g.aparts.add(n.Lease)
	g.hub.mu.RLock()
	defer g.hub.mu.RUnlock()
	g.hub.concerned(n.Server, nil, func(w *Watch) {
		if f.leaseOf(f.keyOf(w.who).Name) == n.Lease {
			w.tellLists(n.Lists&g.hub.sight(w, n.Server), false)
		}
	})
}

// listsApart is a list of the caller's instance at another replica; nil when there is none there any more.
func (g *Gateway) listsApart(ctx context.Context, c caller, m *member, method mcp.Method) (*listing, error) {
	lease := m.family.leaseOf(m.family.keyOf(c).Name)
	limited, cancel := context.WithTimeout(ctx, leaseTime)
	replica, err := g.o.Node.Holder(limited, lease)
	cancel()
	if err == nil && replica != "" && replica != g.o.Node.ID() {
		var l *listing
		if l, err = g.listsAt(ctx, c, m, method, replica); err == nil {
			return l, nil
		}
	}
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err != nil && !again(err) {
		return failedList(err), nil
	}
	g.aparts.forget(lease)
	return nil, nil //nolint:nilnil // the lists are those of every new instance
}
