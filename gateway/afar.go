package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// What a caller's instance tells at another replica comes by one call for each instance, which lasts as long as somebody here
// wants it:
//
//	Watch ─► watched (afar) ──call: caller, wish──► Watch at the instance
//	      ◄─ hub            ◄──notes: what it grants, messages──┘

// watchKind names such calls on the bus.
const watchKind = "watch"

// addAfar has something watched at the caller's instance at another replica.
func (h *hub) addAfar(w *Watch, f *family, key string) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	lease := f.leaseOf(f.keyOf(w.who).Name)
	p := h.afar[lease]
	if p == nil || p.family != f {
		if p != nil {
			h.scattered(p) // it is that of a server as it was
		}
		p = f.openAfar(w.who, lease)
		if h.afar == nil {
			h.afar = map[string]*watched{}
		}
		h.afar[lease] = p
	}
	err := h.addTo(w, p, key)
	if len(p.uris) == 0 {
		p.vacated()
	}
	return err
}

// openAfar makes what stands for an instance at another replica. The caller holds the lock of the hub, as for vacated.
func (f *family) openAfar(c caller, lease string) *watched {
	g := f.g
	p := newWatched(f.plan, f.all, f.base.present)
	p.family = f
	p.server = upstream.Afar(f.plan.Spec, upstream.Options{
		Name: f.plan.Name, Log: g.o.Log.With("component", "upstream"), Present: f.base.present,
		Noticed:    func(n *mcp.Raw) { g.hub.noticed(p, n) },
		WatchBegan: func(upstream.Lists) { g.hub.began(p, 0) },
	}, func(ctx context.Context, wish upstream.Wish, began func(upstream.Wish), told func(*mcp.Raw)) error {
		return f.listenAfar(ctx, p, c, wish, began, told)
	})
	p.vacated = func() {
		if g.hub.afar[lease] == p {
			delete(g.hub.afar, lease)
		}
		g.retired.Go(p.server.Close)
	}
	return p
}

// closeAfar ends what is watched at other replicas.
func (h *hub) closeAfar() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, p := range h.afar {
		p.vacated()
	}
}

// listenAfar watches the caller's instance where it runs; when that is here by now, those who watch it do so here.
func (f *family) listenAfar(
	ctx context.Context, p *watched, c caller, wish upstream.Wish, began func(upstream.Wish), told func(*mcp.Raw),
) error {
	l := letter{
		Endpoint: f.plan.Name, Within: c.within, Principal: c.principal.Encode(),
	}
	var err error
	if l.Body, err = json.Marshal(wish); err != nil {
		return err
	}
	request, err := json.Marshal(&l)
	if err != nil {
		return err
	}
	acknowledged := false
	note := func(body []byte) {
		if !acknowledged {
			var got upstream.Wish
			acknowledged = json.Unmarshal(body, &got) == nil
			began(got)
			return
		}
		n := mcp.Raw{Body: body}
		if e := n.Scan(wide(body)); e == nil {
			told(&n)
		}
	}
	for {
		h, err := f.hold(ctx, c)
		if err == nil {
			f.g.hub.home(p, h.k.watched)
			h.release()
			return nil
		}
		if at, there := errors.AsType[*remote](err); there {
			_, err = f.g.o.Node.Call(ctx, at.replica, watchKind, request, note)
		}
		if acknowledged || !again(err) && !errors.Is(err, cluster.ErrDown) && !errors.Is(err, cluster.ErrGone) {
			return err
		}
		f.g.owners.forget(f.leaseOf(f.keyOf(c).Name))
		if err := pause(ctx, leaseAgain); err != nil {
			return err
		}
	}
}

// home has what was watched at another replica watched here, where the instance is by now. Something may have been missed.
func (h *hub) home(p, here *watched) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(p.uris) == 0 {
		return // it is over
	}
	h.move(p, here)
	for uri, all := range p.uris {
		for w := range all {
			if !isTask(uri) && w.isOpen() {
				w.tell(uri, uri, updatedNotice(uri))
			}
		}
	}
	h.askTasks(here)
	clear(p.uris)
	p.vacated()
}

// watchFromElsewhere watches an instance here for clients of another replica, which were identified and limited there.
func (g *Gateway) watchFromElsewhere(ctx context.Context, request []byte, note func([]byte)) ([]byte, error) {
	var l letter
	var wish upstream.Wish
	err := json.Unmarshal(request, &l)
	if err == nil {
		err = json.Unmarshal(l.Body, &wish)
	}
	if err != nil {
		return nil, errs.E("gateway", errs.Internal, "letter of another replica: %w", err)
	}
	w, err := g.watchHanded(ctx, &l, wish)
	if err != nil {
		return nil, err
	}
	defer w.Close()
	got := w.Granted(Wish{URIs: wish.URIs})
	begun, err := json.Marshal(upstream.Wish{URIs: got.URIs, Tasks: got.Tasks})
	if err != nil {
		return nil, errs.E("gateway", errs.Internal, "%w", err)
	}
	note(begun)
	for {
		select {
		case <-w.Ready():
			eachEvent(w.Append(nil, nil), note)
		case <-w.Ended():
			return nil, moved()
		case <-g.draining:
			return nil, moved()
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// watchHanded watches what of a wish can be watched at the instance that its caller has here.
func (g *Gateway) watchHanded(ctx context.Context, l *letter, wish upstream.Wish) (*Watch, error) {
	x := &Exchange{Endpoint: l.Endpoint, Within: l.Within, handed: true}
	x.bind(g.acquire())
	defer g.release(x.world)
	var err error
	if x.Principal, err = x.world.callers.Decode(l.Principal); err != nil {
		return nil, err
	}
	m := x.world.members[l.Endpoint]
	if m == nil || m.family == nil {
		return nil, moved() // until all replicas have the same configuration
	}
	select {
	case <-g.draining:
		return nil, moved()
	default:
	}
	h, err := m.family.hold(ctx, x.who())
	if err != nil {
		return nil, err
	}
	defer h.release()
	w := g.newWatch(x)
	w.most.Subscriptions = w.most.ServerSubscriptions // of all clients there
	w.tokens = map[string]string{}
	for _, uri := range wish.URIs {
		_ = g.hub.add(w, m.Name, h.k.watched, uri) // what cannot be watched is not granted
	}
	for _, id := range wish.Tasks {
		if g.hub.add(w, m.Name, h.k.watched, taskKey+id) == nil {
			w.tokens[taskKey+id] = id
		}
	}
	w.settle(ctx)
	return w, nil
}

// eachEvent takes server-sent events apart into their messages.
func eachEvent(events []byte, f func(message []byte)) {
	for event := range bytes.SplitSeq(events, []byte("\n\n")) {
		if _, data, ok := bytes.Cut(event, []byte("\ndata: ")); ok {
			f(bytes.ReplaceAll(data, []byte("\ndata: "), []byte("\n")))
		}
	}
}

// Drain ends what is watched here for clients of other replicas, which then look for it elsewhere.
func (g *Gateway) Drain() { g.drains.Do(func() { close(g.draining) }) }
