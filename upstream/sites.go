package upstream

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/upstream/balance"
	"github.com/toolcrib/toolcrib/upstream/h1"
)

// site is one instance of a server that is reached by url.
type site struct {
	balance.Member
	name   string // as people see it
	url    *url.URL
	client *h1.Client
	start  []byte // request line after the method, and the headers that never change
	era    shared[Peer]
	there  shared[struct{}]   // an attempt to connect
	looked context.CancelFunc // ends looking after it; nil where nobody does
	due    atomic.Int64       // when it is probed next, in nanoseconds of the wall clock; 0 where nobody does
	pinged *session           // in which a legacy instance is probed; of the one who looks after it
}

// sites are the instances of a server that is reached by url, or by HTTP+SSE.
type sites struct {
	s   *Server
	set *balance.Set[*site]
	// several: there may be more than one.
	several bool
	by      string // the header that chooses; empty for none
	// join tells whether an instance can be called, alive whether it answers.
	join, alive func(ctx context.Context, m *site) error
	found       *finder // nil where they are configured

	mu      sync.Mutex
	leaving []*site // they have sessions yet
	closed  bool
}

func newSites(s *Server, join, alive func(ctx context.Context, m *site) error) *sites {
	spec := s.spec
	t := &sites{s: s, join: join, alive: alive, several: len(spec.URLs) > 1 || spec.DNS != nil}
	if spec.Balance.By == v1.ByHeader {
		t.by = http.CanonicalHeaderKey(spec.Balance.Header)
	}
	t.set = balance.New(policyOf(spec, s.opts.Zone), t.changed)
	if spec.DNS != nil {
		t.found = newFinder(t)
	}
	return t
}

// begin finds the instances and has them looked after. busy tells whether one that is to go is needed yet.
func (t *sites) begin(busy func(*site) bool) {
	if t.found == nil {
		t.replace(t.configured())
		return
	}
	t.s.spawn(func(ctx context.Context) { t.found.run(ctx, busy) })
}

func policyOf(spec *v1.Server, zone string) balance.Policy {
	h := &spec.Health
	p := balance.Policy{
		Failures: h.Failures, EjectFor: time.Duration(h.EjectFor), Most: h.Most,
		SlowStart: time.Duration(spec.Balance.SlowStart), Zone: zone, Away: spec.Balance.Away, Fall: 2,
	}
	if b := spec.Breaker; b != nil {
		p.Trip, p.OpenFor = b.Failures, time.Duration(b.Open)
	}
	return p
}

// configured are the instances that the configuration names.
func (t *sites) configured() (all []*site) {
	spec := t.s.spec
	if len(spec.URLs) == 0 {
		return []*site{t.site(parsed(spec.URL), "", 1, "")}
	}
	for _, in := range spec.URLs {
		all = append(all, t.site(parsed(in.URL), "", in.Weight, in.Zone))
	}
	return all
}

func parsed(text string) *url.URL {
	u, err := url.Parse(text)
	if err != nil { // validation let only good ones through
		u = &url.URL{Scheme: "http", Host: "invalid."}
	}
	return u
}

// site makes an instance. It is reached at addr, or else where its url says.
func (t *sites) site(u *url.URL, addr string, weight int, zone string) *site {
	m := &site{name: addr, url: u, client: dialer(t.s, u, addr), start: head(u, t.s)}
	if addr == "" {
		m.name = hostPort(u)
	}
	m.Zone = zone
	m.Weigh(weight, 0)
	m.Hash = balance.Hash(m.name + u.RequestURI())
	return m
}

// replace makes these the instances. Those that are new are looked after, and sessions leave those that are gone.
func (t *sites) replace(all []*site) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return
	}
	old := t.set.All()
	first := balance.Up
	if t.several {
		first = balance.Joining
	}
	t.set.Replace(all, first)
	t.leaving = slices.DeleteFunc(t.leaving, func(m *site) bool { return slices.Contains(all, m) })
	for _, m := range old {
		if !slices.Contains(all, m) {
			t.leaving = append(t.leaving, m)
			m.unlook()
		}
	}
	for _, m := range all {
		if !slices.Contains(old, m) && (t.several || t.s.spec.Health.Active != nil) {
			ctx, cancel := context.WithCancel(t.s.ctx)
			m.looked = cancel
			t.s.spawn(func(context.Context) {
				defer cancel()
				t.lookAfter(ctx, m)
			})
		}
	}
}

func (m *site) unlook() {
	if m.looked != nil {
		m.looked()
	}
}

// all are the instances, and those that are to go but have sessions yet.
func (t *sites) all() []*site {
	t.mu.Lock()
	defer t.mu.Unlock()
	return append(slices.Clone(t.set.All()), t.leaving...)
}

// left closes the connections of instances that are gone, once nothing is under way there and busy does not hold them.
func (t *sites) left(busy func(*site) bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.leaving = slices.DeleteFunc(t.leaving, func(m *site) bool {
		if m.InFlight() > 0 || busy(m) {
			return false
		}
		m.client.Close()
		return true
	})
}

func (t *sites) close() {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	for _, m := range t.all() {
		m.client.Abort()
	}
}

// located waits until it was tried to find instances.
func (t *sites) located(ctx context.Context) error {
	if t.found == nil || len(t.set.All()) > 0 {
		return nil
	}
	return t.found.await(ctx)
}

// pick chooses the instance of a call, which release must be told of after; those in not are left out.
func (t *sites) pick(ctx context.Context, key uint64, not []*site) (*site, error) {
	if err := t.located(ctx); err != nil {
		return nil, err
	}
	m, err := t.set.Pick(key, not)
	if err != nil {
		return nil, t.refused(err)
	}
	return m, nil
}

// release ends the work of an instance. Where nobody has judged it, a trial has shown nothing: the next call is one.
func (t *sites) release(m *site) {
	t.set.Release(m)
	if m.State() == balance.Trial {
		t.set.Judge(m, balance.Neither, "")
	}
}

// any is an instance for what is no call.
func (t *sites) any(ctx context.Context) (*site, error) {
	m, err := t.pick(ctx, 0, nil)
	if err != nil {
		return nil, err
	}
	t.release(m)
	return m, nil
}

// refused makes the error of a call that no instance can take.
func (t *sites) refused(err error) error {
	r, ok := errors.AsType[*balance.Refused](err)
	if !ok || !r.Broken {
		return t.s.errorf(errs.Unavailable, "has no instance that can be called: %w", err)
	}
	t.s.refused("breaker")
	after := max(r.RetryAfter, time.Millisecond)
	when := "it is tried again in " + after.Round(time.Millisecond).String()
	if r.Tried {
		when = "a call that tells whether it is well again is under way"
	}
	e := t.s.errorf(errs.Unavailable, "is not called, since its circuit breaker is open; %s; last: %s", when, r.Reason)
	return e.Later("breaker", after)
}

// key is that of a call for the choice of its instance; 0 for none.
func (t *sites) key(c *Call) uint64 {
	var value string
	switch t.by {
	case "":
		return 0
	case "Mcp-Name":
		value = string(c.Name)
	case "Mcp-Method":
		value = c.In.Method.String()
	default:
		if vs := c.From[t.by]; len(vs) > 0 {
			value = vs[0]
		}
	}
	if value == "" {
		return 0
	}
	return max(balance.Hash(value), 1)
}

// untried tells whether there is an instance besides these.
func (t *sites) untried(not []*site) bool {
	return slices.ContainsFunc(t.set.All(), func(m *site) bool { return !slices.Contains(not, m) })
}

// usable tells whether an instance takes work that could be done elsewhere, and others whether another one is up.
func (t *sites) usable(m *site) bool { return t.set.Usable(m) }

func (t *sites) others(m *site) bool {
	return t.several && slices.ContainsFunc(t.set.All(), func(o *site) bool { return o != m && o.State() == balance.Up })
}

// changed logs a change of an instance. They are few, since each time an instance is out for longer.
func (t *sites) changed(m *site, st balance.Status) {
	log := t.s.log.With("instance", m.name)
	switch st.State {
	case balance.Up:
		log.Info("instance ready")
		if p := m.era.peek(); p != nil {
			t.s.setReady(p)
		}
	case balance.Open:
		log.Warn("instance not called: its circuit breaker is open", "error", st.Reason, "again", st.Again.Format(time.TimeOnly))
	case balance.Ejected:
		log.Warn("instance passed over", "error", st.Reason, "again", st.Again.Format(time.TimeOnly))
	default:
		log.Warn("instance "+st.State.String(), "error", st.Reason)
		if !t.others(m) {
			t.s.fail(t.s.errorf(errs.Unavailable, "has no instance that is up; %s: %s", m.name, st.Reason))
		}
	}
}

// unreached is an error after which nothing of the call was sent, so that another instance may be tried.
type unreached struct{ error }

func (u *unreached) Unwrap() error { return u.error }

// unsent tells an error of a call of which nothing was sent.
func unsent(err error) bool {
	_, ok := errors.AsType[*unreached](err)
	return ok
}

// reached is err as that of a call that cannot be sent elsewhere.
func reached(err error) error {
	if u, ok := errors.AsType[*unreached](err); ok {
		return u.error
	}
	return err
}

// dead tells an error that shows that nobody listens at an address.
func dead(err error) bool { return errors.Is(err, syscall.ECONNREFUSED) }

// InstanceStatus is the state of an instance, since when, and why.
type InstanceStatus struct {
	Instance  string     `json:"instance"`
	Zone      string     `json:"zone,omitempty"`
	Weight    int        `json:"weight"`
	State     string     `json:"state"`
	Since     time.Time  `json:"since"`
	Reason    string     `json:"reason,omitempty"`
	Again     *time.Time `json:"again,omitempty"`
	Era       string     `json:"era,omitempty"`
	InFlight  int64      `json:"inFlight"`
	Calls     int64      `json:"calls"`
	Ejections int64      `json:"ejections"`
	// Broken tells that its circuit breaker is open, also while one call is let through to tell whether it may be closed.
	Broken bool `json:"-"`
}

// Out tells that the instance is one that is passed over, or not called.
func (i *InstanceStatus) Out() bool {
	switch i.State {
	case balance.Up.String(), balance.Draining.String(), balance.Trial.String():
		return false
	}
	return true
}

// status are the states of the instances; nil where there is nothing to tell but what the server's own says.
func (t *sites) status() (all []InstanceStatus) {
	spec := t.s.spec
	if !t.several && spec.Breaker == nil && spec.Health.Active == nil {
		return nil
	}
	for _, m := range t.all() {
		st := t.set.Status(m)
		i := InstanceStatus{
			Instance: m.name, Zone: m.Zone, Weight: m.Weight(), State: st.State.String(), Since: st.Since, Reason: st.Reason,
			InFlight: st.InFlight, Calls: st.Picked, Ejections: st.Ejections, Broken: m.Broken(),
		}
		if st.State == balance.Down || st.State == balance.Joining {
			st.Again = m.probedNext(time.Now())
		}
		if !st.Again.IsZero() {
			i.Again = &st.Again
		}
		if p := m.era.peek(); p != nil {
			i.Era = p.era()
		}
		all = append(all, i)
	}
	return all
}

// probedNext is when an instance is probed next; zero where it is not, or is now.
func (m *site) probedNext(now time.Time) (at time.Time) {
	if due := m.due.Load(); due > now.UnixNano() {
		at = time.Unix(0, due)
	}
	return at
}

// addrName is how an address of DNS is shown and dialled.
func addrName(host, port string) string {
	if strings.Contains(host, ":") {
		return "[" + host + "]:" + port
	}
	return host + ":" + port
}

func portText(port uint16) string { return strconv.Itoa(int(port)) }
