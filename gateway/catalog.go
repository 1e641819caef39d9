package gateway

import (
	"context"
	"errors"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

const (
	pagesMost = 1_000               // pages of one list
	itemsMost = 100_000             // elements of one list
	bytesMost = 64 << 20            // bytes of one list
	retryList = 2 * time.Second     // how long a failed list counts, and the ttlMs that clients are told then
	guessList = time.Second         // how long names that a list does not have are unknown without asking anew
	ttlMost   = 24 * 60 * 60 * 1000 // ms; a server cannot ask for more
)

// catalog holds the lists of one server as the server sent them, each until it is stale.
type catalog struct {
	gen    atomic.Pointer[atomic.Uint64] // of the world; counted up when a list changes
	facts  atomic.Pointer[map[string]*toolFacts]
	drifts atomic.Pointer[[]Drift] // of the list of tools last had

	mu    sync.Mutex
	slots map[mcp.Method]*slot
}

// slot is the place of one list.
type slot struct {
	cur   *listing
	fetch chan struct{} // closed when the fetch under way is over; nil when there is none
	// errand is what is noted of that, for the trace of the request that caused it; nil where nothing is.
	errand *trace.Errand
	epoch  uint64 // counted up by invalidate: what was asked before may be old
	mark   uint64 // of the list last had; 0 when there was none
	told   bool   // clients were told that the list changes
	standIn
}

// listing is one list of one server, complete.
type listing struct {
	first   mcp.Raw // the first page, as the server sent it
	items   []item
	pages   int
	dropped bool // some element of the server is not among items
	drifts  []Drift
	public  bool
	had     time.Time // when the server gave it
	expires time.Time
	own     bool  // it is one caller's own, which no other may see
	err     error // the list could not be had; items is empty
	why     error // another could not be had since, so that this one stands in for it
	// objects are the items as policies know them; nil where there is none.
	objects *objects
}

// item is one element of a list.
type item struct {
	raw    []byte
	key    string    // decoded name, uri or uriTemplate
	name   mcp.Span  // of the raw name within raw; absent for resources
	output mcp.Field // outputSchema within raw, when a legacy client cannot take it
	app    bool      // only the server's own app may call the tool
}

// toolFacts are what a call of a tool needs to know of its definition.
type toolFacts struct {
	params []mcp.Param
	metric *telemetry.Tool
	task   bool // a legacy server carries it out as a task only (execution.taskSupport)
	app    bool // only the server's own app may call it
	// mutates: its server says that it changes something; repeats: that twice is as good as once.
	mutates, repeats bool
}

func newCatalog() *catalog { return &catalog{slots: map[mcp.Method]*slot{}} }

// invalidate makes the lists that a change notice is about stale at once. Clients are told of it.
func (c *catalog) invalidate(changed upstream.Lists) {
	c.mu.Lock()
	for method, list := range listsOf {
		if changed&list != 0 {
			c.slot(method).told = true
		}
	}
	c.mu.Unlock()
	c.doubt(changed)
}

// doubt makes lists stale at once.
func (c *catalog) doubt(lists upstream.Lists) {
	for method, list := range listsOf {
		if lists&list != 0 {
			c.expire(method)
		}
	}
}

// age makes all lists stale for as long as the server can be asked for others.
func (c *catalog) age() {
	c.mu.Lock()
	for _, s := range c.slots {
		if s.cur != nil {
			l := *s.cur
			l.had, l.expires = time.Time{}, time.Now()
			s.cur = &l
			s.over()
		}
	}
	c.mu.Unlock()
	c.changed()
}

// listsOf are the kinds whose change makes a list stale.
var listsOf = map[mcp.Method]upstream.Lists{
	mcp.MethodToolsList: upstream.ListTools, mcp.MethodPromptsList: upstream.ListPrompts,
	mcp.MethodResourcesList: upstream.ListResources, mcp.MethodResourcesTemplatesList: upstream.ListResources,
}

// recovered makes lists that failed stale, now that the server is up.
func (c *catalog) recovered() {
	c.mu.Lock()
	for _, s := range c.slots {
		if s.cur != nil && (s.cur.err != nil || s.cur.why != nil) {
			s.cur = nil
			s.epoch++
			s.told = true
		}
	}
	c.mu.Unlock()
	c.changed()
}

func (c *catalog) expire(m mcp.Method) {
	c.mu.Lock()
	s := c.slot(m)
	s.cur = nil
	s.epoch++
	s.over()
	c.mu.Unlock()
	c.changed()
}

// forget has nothing stand in for lists that were had before: what they were judged by does not hold any more.
func (c *catalog) forget(lists upstream.Lists) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for method, list := range listsOf {
		if lists&list != 0 {
			c.slot(method).good = nil
		}
	}
}

func (c *catalog) changed() { c.gen.Load().Add(1) }

func (c *catalog) slot(m mcp.Method) *slot {
	s := c.slots[m]
	if s == nil {
		s = &slot{}
		c.slots[m] = s
	}
	return s
}

// last is the list last had, fresh or not; nil when there was none.
func (c *catalog) last(m mcp.Method) *listing {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.slot(m).cur
}

// failed tells whether the list last asked for could not be had.
func (c *catalog) failed(m mcp.Method) bool {
	l := c.last(m)
	return l != nil && (l.err != nil || l.why != nil)
}

// lists returns a fresh list of a server, fetched when the last one is stale; callers at the same time share one fetch. The last
// good one stands in for one that is late or cannot be had, for a while.
// Only ctx's end is an error: a server that fails gives a listing that says so.
func (g *Gateway) lists(ctx context.Context, m *member, method mcp.Method) (*listing, error) {
	c, notes := m.catalog, trace.From(ctx)
	for first := true; ; first = false {
		c.mu.Lock()
		s := c.slot(method)
		if s.cur != nil && (!first || time.Now().Before(s.cur.expires) || m.asleep(s)) {
			l := s.cur
			c.mu.Unlock()
			return l, nil
		}
		since, caused := time.Now(), s.fetch == nil
		if caused {
			s.fetch, s.began, s.errand = make(chan struct{}), since, notes.Errand(method.String(), m.Name)
			errand := s.errand
			g.retired.Go(func() {
				g.refresh(m, method, s, errand)
			})
		}
		wait, late, errand := s.fetch, m.patience(s), s.errand
		c.mu.Unlock()
		l, err := g.awaitList(ctx, m, method, wait, late)
		if notes.Waited(errand, caused, method.String(), m.Name, since); l != nil || err != nil {
			return l, err
		}
	}
}

// listsNow returns a list of a server in which to look for a name that the last one does not have: a fresh one, unless the last
// was had a moment ago, so that whoever guesses names has no server asked for each of them.
func (g *Gateway) listsNow(ctx context.Context, m *member, method mcp.Method) (*listing, error) {
	if l := m.catalog.last(method); l != nil && time.Since(l.had) < guessList {
		return l, nil
	}
	return g.lists(ctx, m, method)
}

// asleep tells whether a server has no process to ask, and keeps its list good for a while then: it does not change before
// there is one. The caller holds the lock of the catalog.
func (m *member) asleep(s *slot) bool {
	if s.cur.err != nil || m.server.Status().State != upstream.StateIdle {
		return false
	}
	l := *s.cur
	l.expires = time.Now().Add(max(time.Duration(m.now().ListTTL), retryList))
	s.cur = &l
	s.keep(&l)
	return true
}

// refresh fetches a list into its slot, again when it was invalidated meanwhile.
func (g *Gateway) refresh(m *member, method mcp.Method, s *slot, errand *trace.Errand) {
	c := m.catalog
	for try := 0; ; try++ {
		c.mu.Lock()
		epoch := s.epoch
		c.mu.Unlock()
		l := g.fetch(m, method, errand)
		l.had = time.Now()
		c.mu.Lock()
		if s.epoch != epoch && try < 3 {
			c.mu.Unlock()
			continue
		}
		s.cur = g.settleList(m, method, s, l)
		if l = s.cur; method == mcp.MethodToolsList && l.err == nil && l.why == nil {
			facts := g.toolFacts(m, l)
			c.facts.Store(&facts)
			c.drifts.Store(&l.drifts)
		}
		left := errand.Over()
		close(s.fetch)
		s.fetch, s.errand = nil, nil
		news := s.news(l)
		c.mu.Unlock()
		c.changed()
		if left {
			g.o.Traces.TellErrand(errand)
		}
		if news {
			g.hub.listsChanged(m, listsOf[method], true)
		}
		return
	}
}

// news tells whether clients are to be told that the list is not what it was: the server did not say so.
func (s *slot) news(l *listing) bool {
	mark := l.mark()
	news := s.mark != 0 && s.mark != mark && !s.told || s.owed && l.why == nil
	s.owed = l.why != nil && (s.owed || s.told)
	s.mark, s.told = mark, false
	return news
}

var markSeed = maphash.MakeSeed()

// mark is the same for lists of the same elements, by name and in any order; it is never 0.
func (l *listing) mark() uint64 {
	sum := uint64(len(l.items))
	for i := range l.items {
		sum += maphash.String(markSeed, l.items[i].key)
	}
	return sum | 1
}

// fetch asks a server for all pages of a list within the server's time limit for lists.
func (g *Gateway) fetch(m *member, method mcp.Method, errand *trace.Errand) *listing {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(m.now().Timeouts.List))
	defer cancel()
	l, err := g.pages(ctx, m, method, errand)
	g.o.Metrics.Discovery(m.Name, err == nil)
	if err != nil {
		if ctx.Err() != nil {
			err = errs.E(`server "`+m.Name+`"`, errs.Timeout, "did not give %s within %s; raise timeouts.list if it needs longer",
				method, time.Duration(m.now().Timeouts.List))
		}
		return &listing{err: err, expires: time.Now().Add(retryList)}
	}
	return l
}

// capability is what a server declares when it has a list.
var capability = map[mcp.Method]string{
	mcp.MethodToolsList: "tools", mcp.MethodPromptsList: "prompts",
	mcp.MethodResourcesList: "resources", mcp.MethodResourcesTemplatesList: "resources",
}

func (g *Gateway) pages(ctx context.Context, m *member, method mcp.Method, errand *trace.Errand) (*listing, error) {
	switch st := m.server.Status(); {
	case st.State == upstream.StateFailed:
		return nil, errs.E("gateway", errs.Unavailable, "server has failed: %s", st.Told)
	case st.State == upstream.StateStarting && m.catalog.failed(method):
		// It was waited for once, in vain; it is in the list as soon as it is up.
		return nil, errs.E(`server "`+m.Name+`"`, errs.Unavailable, "is still starting")
	}
	peer, err := m.server.Peer(ctx)
	if err != nil {
		return nil, err
	}
	l := &listing{public: peer.Modern}
	if !declares(peer.Capabilities, capability[method]) {
		l.expires = time.Now().Add(max(time.Duration(m.now().ListTTL), retryList))
		return l, nil
	}
	ttl, bytes := int64(-1), 0
	seen := map[string]bool{}
	for cursor := []byte(nil); ; {
		page, err := g.page(ctx, m, method, cursor, errand.Next())
		if errors.Is(err, errNoMethod) {
			break
		}
		if err != nil {
			return nil, err
		}
		l.pages++
		bytes += len(page.Body)
		if l.pages == 1 {
			l.first = *page
		}
		l.take(g, m, method, peer, page, seen)
		ttl = shorter(ttl, page, time.Duration(m.now().ListTTL))
		l.public = l.public && string(page.Get(mcp.KeyCacheScope).Of(page.Body)) == `"public"`
		next := page.Get(mcp.KeyNextCursor).Of(page.Body)
		if next == nil || string(next) == "null" {
			break
		}
		if string(next) == string(cursor) || l.pages == pagesMost || len(l.items) > itemsMost || bytes > bytesMost {
			return nil, errs.E(`server "`+m.Name+`"`, errs.Protocol, "%s does not end: %d pages, %d elements, %d bytes", method, l.pages, len(l.items), bytes)
		}
		cursor = next
	}
	l.expires = time.Now().Add(time.Duration(max(ttl, 0)) * time.Millisecond)
	l.objects = newObjects(l)
	return l, nil
}

// declares tells whether a server has a capability; one that declared nothing at all is asked.
func declares(capabilities []byte, name string) bool {
	if len(capabilities) == 0 {
		return true
	}
	f, err := mcp.Lookup(capabilities, mcp.Span{End: int32(len(capabilities))}, name)
	return err != nil || f.Present()
}

// shorter is the ttl of the pages so far, in ms: the least that a page names, or def where it names none.
func shorter(ttl int64, page *mcp.Raw, def time.Duration) int64 {
	ms, ok := mcp.Integer(page.Body, page.Get(mcp.KeyTTLMs))
	if !ok {
		ms = def.Milliseconds()
	}
	ms = min(max(ms, 0), ttlMost)
	if ttl < 0 {
		return ms
	}
	return min(ttl, ms)
}

// errNoMethod: the server does not have the list after all.
var errNoMethod = errors.New("no such method")

// page asks for one page.
func (g *Gateway) page(ctx context.Context, m *member, method mcp.Method, cursor []byte, notes *trace.Record) (*mcp.Raw, error) {
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"` + method.String() + `","params":{}}`)
	if cursor != nil {
		body = []byte(`{"jsonrpc":"2.0","id":1,"method":"` + method.String() + `","params":{"cursor":` + string(cursor) + `}}`)
	}
	var in, out mcp.Raw
	in.Body = body
	if e := in.Scan(mcp.Limits{}); e != nil {
		return nil, e
	}
	call := upstream.Call{In: &in, Client: &upstream.Client{}, Trace: notes}
	if err := m.server.Do(ctx, &call, &out); err != nil {
		return nil, err
	}
	defer out.Free()
	return m.keep(method, &out)
}

// keep makes a page of a list outlive the answer it came with.
func (m *member) keep(method mcp.Method, out *mcp.Raw) (*mcp.Raw, error) {
	if out.Kind == mcp.KindError {
		if out.ErrorCode == mcp.CodeMethodNotFound {
			return nil, errNoMethod
		}
		text, _ := mcp.Text(out.Body, out.Get(mcp.KeyMessage), nil)
		return nil, errs.E(`server "`+m.Name+`"`, errs.Protocol, "answers %s with an error: %.200s (%d)", method, text, out.ErrorCode)
	}
	kept := &mcp.Raw{Body: out.Append(make([]byte, 0, out.Len()))}
	limits := mcp.Limits{Bytes: len(kept.Body), Depth: 1 << 20}
	if e := kept.Scan(limits); e != nil {
		return nil, e
	}
	if list := kept.Get(method.Facts().ListKey); !list.Present() || kept.Body[list.Start] != '[' {
		return nil, errs.E(`server "`+m.Name+`"`, errs.Protocol, "answers %s without the array it must have", method)
	}
	return kept, nil
}

// take adds the elements of a page.
func (l *listing) take(g *Gateway, m *member, method mcp.Method, peer *upstream.Peer, page *mcp.Raw, seen map[string]bool) {
	mcp.Elements(page.Body, page.Get(method.Facts().ListKey), func(e mcp.Span) bool {
		it, why := newItem(method, page.Body, e)
		switch {
		case why != "":
		case seen[it.key]:
			why = "it is in the list twice"
		case method == mcp.MethodToolsList && peer.Modern && m.server.HTTP():
			// streamable-http "x-mcp-header": HTTP clients must not offer a tool whose annotations break the rules.
			if _, err := mcp.Params(inputSchema(it.raw)); err != nil {
				why = err.Error()
			}
		}
		if why != "" {
			l.dropped = true
			g.warnOnce("element of a list left out", m.Name, it.key, why)
			return true
		}
		seen[it.key] = true
		if method == mcp.MethodToolsList && !l.admit(g, m, &it) {
			return true
		}
		l.items = append(l.items, it)
		return true
	})
}

// admit tells whether a tool may be offered as it is defined, and notes if it is not as approved.
func (l *listing) admit(g *Gateway, m *member, it *item) bool {
	drift, ok := g.pinned(m, it)
	if drift != nil {
		l.drifts = append(l.drifts, *drift)
	}
	l.dropped = l.dropped || !ok
	return ok
}

func newItem(method mcp.Method, body []byte, e mcp.Span) (it item, why string) {
	raw := e.Of(body)
	if len(raw) == 0 || raw[0] != '{' {
		return it, "it is no object"
	}
	it.raw = raw
	all := mcp.Span{End: int32(len(raw))}
	member := "name"
	switch method {
	case mcp.MethodResourcesList:
		member = "uri"
	case mcp.MethodResourcesTemplatesList:
		member = "uriTemplate"
	}
	f, err := mcp.Lookup(raw, all, member)
	if err != nil {
		return it, err.Message
	}
	text, ok := mcp.Text(raw, f.Span, nil)
	if !ok || len(text) == 0 {
		return it, "its " + member + " is missing or no proper string"
	}
	it.key = string(text)
	if member == "name" {
		it.name = f.Span
	}
	if method == mcp.MethodToolsList {
		it.app = forApps(raw)
		if out, err := mcp.Lookup(raw, all, "outputSchema"); err == nil && out.Present() && !isObjectSchema(raw, out.Span) {
			it.output = out
		}
	}
	return it, ""
}

// isObjectSchema tells whether a schema is one that legacy clients take: its root has type "object".
func isObjectSchema(raw []byte, s mcp.Span) bool {
	if raw[s.Start] != '{' {
		return false
	}
	t, err := mcp.Lookup(raw, s, "type")
	return err == nil && string(t.Of(raw)) == `"object"`
}

func inputSchema(raw []byte) []byte {
	f, err := mcp.Lookup(raw, mcp.Span{End: int32(len(raw))}, "inputSchema")
	if err != nil {
		return nil
	}
	return f.Of(raw)
}

// toolFacts reads what calls need from the definitions of tools.
func (g *Gateway) toolFacts(m *member, l *listing) map[string]*toolFacts {
	facts := make(map[string]*toolFacts, len(l.items))
	for i := range l.items {
		it := &l.items[i]
		f := &toolFacts{app: it.app, metric: g.o.Metrics.Tool(m.Name, it.key)}
		if schema := inputSchema(it.raw); schema != nil {
			f.params, _ = mcp.Params(schema) // a broken annotation binds nothing
		}
		f.task = textAt(at(it.raw, "execution"), "taskSupport") == "required"
		hints := at(it.raw, "annotations")
		reads := string(at(hints, "readOnlyHint"))
		f.mutates = reads == "false" || reads != "true" && string(at(hints, "destructiveHint")) == "true"
		f.repeats = reads == "true" || string(at(hints, "idempotentHint")) == "true"
		facts[it.key] = f
	}
	return facts
}

// tool finds the facts of a tool in the list last had; nil when it is not in it.
func (c *catalog) tool(name []byte) *toolFacts {
	facts := c.facts.Load()
	if facts == nil {
		return nil
	}
	return (*facts)[string(name)]
}

const warningsMost = 10_000

// warnOnce logs a fault of a server's definitions the first time it is seen.
func (g *Gateway) warnOnce(msg, server, name, why string) {
	key := msg + "\x00" + server + "\x00" + name
	if g.warnings.Load() >= warningsMost {
		return
	}
	if _, seen := g.warned.LoadOrStore(key, true); !seen {
		g.warnings.Add(1)
		g.o.Log.Warn(msg, "server", server, "name", name, "reason", why)
	}
}
