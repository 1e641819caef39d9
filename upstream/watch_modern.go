package upstream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// listensMost is how many listens stand beside each other at a child before they are joined.
const listensMost = 1000

// listening is one subscriptions/listen at a server.
type listening struct {
	acked chan struct{} // closed when got is known
	got   Wish
	done  chan struct{} // closed when it is over
	err   error         // why, set before done is closed
	end   func()        // ends it

	lost atomic.Pointer[func()] // called when it ends that was not to end

	once, acks sync.Once
}

func newListening() *listening {
	return &listening{acked: make(chan struct{}), done: make(chan struct{})}
}

// acknowledge takes notifications/subscriptions/acknowledged.
func (li *listening) acknowledge(n *mcp.Raw) {
	li.acks.Do(func() {
		li.got = honoured(n)
		close(li.acked)
	})
}

// over ends it for good.
func (li *listening) over(err error) {
	li.once.Do(func() {
		li.err = err
		close(li.done)
		if lost := li.lost.Load(); lost != nil && !errors.Is(err, errEnded) {
			(*lost)()
		}
	})
}

// refusal is an error with which a server answered a listen.
type refusal struct {
	error
	never bool // it has no listens at all
}

// opener opens a listen at a server.
type opener func(ctx context.Context, wish Wish) (*listening, error)

// modernWatch watches a server of 2026-07-28.
type modernWatch struct {
	s    *Server
	w    *watcher
	open opener
	// beside: a listen with a larger filter does not take the place of the one before but stands beside it. Well-known
	// servers know one listen for each process: the end of any ends all.
	beside bool

	all     []*listening
	asked   Wish            // what the listens ask for together
	wish    Wish            // what they are to
	refused map[string]bool // URIs and tasks that the server refuses and somebody wants
	broken  chan struct{}   // closed when a listen ends that was not to end
	breaks  sync.Once
}

// attendModern watches a modern server until the watch is over.
func (s *Server) attendModern(ctx context.Context, p *Peer, w *watcher, beside bool, open opener) error {
	m := &modernWatch{s: s, w: w, open: open, beside: beside, refused: map[string]bool{}, broken: make(chan struct{})}
	defer m.close()
	for first := true; ; first = false {
		wish, ticket := w.wanted()
		if err := m.follow(ctx, wish.limitTo(p)); err != nil {
			return err
		}
		got := m.got()
		if first {
			s.began(got.Lists)
		}
		w.settle(got, ticket)
		if err := w.await(ctx, m.broken); err != nil {
			return err
		}
	}
}

// follow has the listens cover a wish.
func (m *modernWatch) follow(ctx context.Context, wish Wish) error {
	m.wish = wish
	if len(m.refused) > 0 {
		wanted := set(append(slices.Clone(wish.URIs), wish.Tasks...))
		maps.DeleteFunc(m.refused, func(name string, _ bool) bool {
			_, ok := wanted[name]
			return !ok
		})
	}
	add := Wish{URIs: m.lacking(wish.URIs, m.asked.URIs), Tasks: m.lacking(wish.Tasks, m.asked.Tasks)}
	if len(m.all) == 0 {
		add.Lists = wish.Lists
	}
	fewer := len(m.asked.URIs) + len(m.asked.Tasks) - len(wish.URIs) - len(wish.Tasks)
	switch {
	case m.beside && (len(m.all) >= listensMost || fewer > len(wish.URIs)+len(wish.Tasks)+listensMost/10):
		return errWatchOver // all of them anew
	case !m.beside && fewer > 0 && add.empty():
		return m.narrow(ctx, wish)
	}
	if add.empty() {
		return nil
	}
	return m.extend(ctx, add)
}

// narrow listens for less; where that is refused, the wider listen stays.
func (m *modernWatch) narrow(ctx context.Context, wish Wish) error {
	wish.URIs, wish.Tasks = m.taken(wish.URIs), m.taken(wish.Tasks)
	if wish.empty() {
		m.close()
		m.asked = wish
		return nil
	}
	li, err := m.listen(ctx, wish)
	if _, refused := errors.AsType[*refusal](err); refused {
		return nil
	}
	if err != nil {
		return err
	}
	m.close()
	m.all, m.asked = append(m.all, li), wish
	m.guard(li)
	return nil
}

// taken are the names that the server did not refuse.
func (m *modernWatch) taken(names []string) (out []string) {
	for _, n := range names {
		if !m.refused[n] {
			out = append(out, n)
		}
	}
	return out
}

// lacking are the names that are not asked for yet and were not refused.
func (m *modernWatch) lacking(names, asked []string) (out []string) {
	known := set(asked)
	for _, n := range names {
		if _, ok := known[n]; !ok && !m.refused[n] {
			out = append(out, n)
		}
	}
	return out
}

// extend listens for more. Where the server refuses that, it is found out what of it is to blame, so that the wish of one
// client does not spoil those of the others.
func (m *modernWatch) extend(ctx context.Context, add Wish) error {
	whole := join(m.asked, add)
	ask := add
	if !m.beside || len(m.all) == 0 {
		whole = join(m.asked.among(m.wish), add)
		ask = whole
	}
	li, err := m.listen(ctx, ask)
	if err == nil {
		if !m.beside {
			m.close()
		}
		m.all, m.asked = append(m.all, li), whole
		m.guard(li)
		return nil
	}
	no, ok := errors.AsType[*refusal](err)
	if !ok {
		return err
	}
	a, b := add.halves()
	if b.empty() || no.never {
		for _, n := range append(add.URIs, add.Tasks...) {
			m.refused[n] = true
		}
		m.s.log.Debug("server refuses to be watched", "error", err)
		return nil
	}
	if err := m.extend(ctx, a); err != nil {
		return err
	}
	return m.extend(ctx, b)
}

// among is the part of a wish whose names are in another one too.
func (wish Wish) among(other Wish) Wish {
	both := func(names, of []string) (out []string) {
		known := set(of)
		for _, n := range names {
			if _, ok := known[n]; ok {
				out = append(out, n)
			}
		}
		return out
	}
	return Wish{Lists: wish.Lists, URIs: both(wish.URIs, other.URIs), Tasks: both(wish.Tasks, other.Tasks)}
}

func join(a, b Wish) Wish {
	return Wish{
		Lists: a.Lists | b.Lists,
		URIs:  append(append([]string(nil), a.URIs...), b.URIs...),
		Tasks: append(append([]string(nil), a.Tasks...), b.Tasks...),
	}
}

// halves splits a wish; b is empty when it cannot be split any more.
func (wish Wish) halves() (a, b Wish) {
	u, t := len(wish.URIs), len(wish.Tasks)
	switch {
	case wish.Lists != 0 && u+t > 0:
		return Wish{Lists: wish.Lists}, Wish{URIs: wish.URIs, Tasks: wish.Tasks}
	case u > 0 && t > 0:
		return Wish{URIs: wish.URIs}, Wish{Tasks: wish.Tasks}
	case u > 1:
		return Wish{URIs: wish.URIs[:u/2]}, Wish{URIs: wish.URIs[u/2:]}
	case t > 1:
		return Wish{Tasks: wish.Tasks[:t/2]}, Wish{Tasks: wish.Tasks[t/2:]}
	}
	return wish, Wish{}
}

// listen opens one listen and waits for its acknowledgement.
func (m *modernWatch) listen(ctx context.Context, wish Wish) (*listening, error) {
	li, err := m.open(ctx, wish)
	if err != nil {
		return nil, err
	}
	limit := time.Duration(m.s.timeouts().List)
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-li.acked:
		return li, nil
	case <-li.done:
		err = li.err
	case <-timer.C:
		err = m.s.errorf(errs.Timeout, "did not acknowledge subscriptions/listen within %s; raise timeouts.list if it needs longer", limit)
	case <-ctx.Done():
		err = context.Cause(ctx)
	}
	li.end()
	return nil, err
}

// guard has the watch break when a listen of it ends that was not to end.
func (m *modernWatch) guard(li *listening) {
	lost := func() { m.breaks.Do(func() { close(m.broken) }) }
	li.lost.Store(&lost)
	select {
	case <-li.done:
		lost()
	default:
	}
}

// errEnded: a listen ended since it was to end.
var errEnded = errors.New("not listened to any more")

// close ends all listens.
func (m *modernWatch) close() {
	for _, li := range m.all {
		li.over(errEnded)
		li.end()
	}
	m.all = nil
}

// got is what the server acknowledged.
func (m *modernWatch) got() (got Wish) {
	for _, li := range m.all {
		got = join(got, li.got)
	}
	return got
}

// listenBody is the request for a wish.
func listenBody(wish Wish) []byte {
	b := []byte(`{"jsonrpc":"2.0","id":1,"method":"subscriptions/listen","params":{"notifications":{`)
	member := func(name string) {
		if b[len(b)-1] != '{' {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), name...), `":`...)
	}
	for _, k := range listKeys {
		if wish.Lists&k.list != 0 {
			member(k.name)
			b = append(b, "true"...)
		}
	}
	for _, names := range [...]struct {
		key string
		all []string
	}{{"resourceSubscriptions", wish.URIs}, {"taskIds", wish.Tasks}} {
		if len(names.all) == 0 {
			continue
		}
		member(names.key)
		for i, n := range names.all {
			b = mcp.AppendString(append(b, "[,"[min(i, 1)]), n)
		}
		b = append(b, ']')
	}
	return append(b, "}}}"...)
}

// listKeys are the members of the filter of a listen that stand for lists.
var listKeys = [...]struct {
	name string
	list Lists
}{{"toolsListChanged", ListTools}, {"promptsListChanged", ListPrompts}, {"resourcesListChanged", ListResources}}

// honoured reads the filter that a server acknowledged.
func honoured(n *mcp.Raw) (got Wish) {
	filter := n.Get(mcp.KeyNotifications)
	if !filter.Present() || n.Body[filter.Start] != '{' {
		return got
	}
	for _, k := range listKeys {
		if f, err := mcp.Lookup(n.Body, filter, k.name); err == nil && string(f.Of(n.Body)) == "true" {
			got.Lists |= k.list
		}
	}
	got.URIs = texts(n.Body, filter, "resourceSubscriptions")
	got.Tasks = texts(n.Body, filter, "taskIds")
	return got
}

// texts are the strings of an array that is a member of an object.
func texts(body []byte, object mcp.Span, name string) (out []string) {
	f, err := mcp.Lookup(body, object, name)
	if err != nil || !f.Present() || body[f.Start] != '[' {
		return nil
	}
	mcp.Elements(body, f.Span, func(e mcp.Span) bool {
		if text, ok := mcp.Text(body, e, nil); ok {
			out = append(out, string(text))
		}
		return true
	})
	return out
}

// listenCall is the call that opens a listen.
func listenCall(wish Wish) (*Call, error) {
	c, err := ownCall(listenBody(wish))
	if err == nil && len(wish.Tasks) > 0 {
		c.Client.Capabilities = DeclareTasks(emptyObject)
	}
	return c, err
}
