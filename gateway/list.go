package gateway

import (
	"context"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
)

// nameMost is what common clients take as the longest name of a tool.
const nameMost = 64

// view is a list of an endpoint in the form of one era, joined from the servers' own bytes.
type view struct {
	gen     uint64
	expires time.Time
	most    time.Duration // that a client is told it stays as it is
	raw     mcp.Raw       // the whole answer, with any id and ttlMs
	partial bool          // some server did not tell what it has
}

type viewKey struct {
	endpoint string
	method   mcp.Method
	modern   bool
	rights   *policy.View // of whom it is for; nil for all
}

// rightsMost is how long a client is told that a list stays as it is that shows what the caller may see, or nothing: with other
// rights it is another one, and no notification says so.
const rightsMost = 5 * time.Second

// viewsMost bounds the bytes of the views of a world.
const viewsMost = 64 << 20

// viewCache keeps the views of a world: as many as it has endpoints, lists, eras and sets of rights, up to a size.
type viewCache struct {
	mu   sync.Mutex
	m    map[viewKey]*view
	size int
}

func (c *viewCache) get(k viewKey) *view {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.m[k]
}

func (c *viewCache) put(k viewKey, v *view) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil {
		c.m = map[viewKey]*view{}
	}
	c.drop(k)
	for other := range c.m {
		if c.size+len(v.raw.Body) <= viewsMost {
			break
		}
		c.drop(other)
	}
	c.m[k] = v
	c.size += len(v.raw.Body)
}

// drop lets go of a view; the caller holds the lock.
func (c *viewCache) drop(k viewKey) {
	if v := c.m[k]; v != nil {
		c.size -= len(v.raw.Body)
		delete(c.m, k)
	}
}

// list answers list requests from the catalogs.
func list(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	method := x.In.Method
	if !method.Facts().List {
		return false, nil
	}
	if c := x.In.Get(mcp.KeyCursor).Of(x.In.Body); c != nil && string(c) != "null" {
		return false, errs.E("gateway", errs.Invalid, "cursor %.60s was not issued here: lists come whole, in one page; leave it out", c)
	}
	k := viewKey{x.Endpoint, method, x.Client.Modern, x.view}
	w := x.world
	own := x.at.ownLists(x)
	if x.view != nil {
		x.facts = policy.Facts{Now: x.started}
		if kindOf[method] == policy.KindResource {
			x.facts.Args = policy.NoArgs // there never are any
		}
		x.surroundings(&x.facts)
		own = own || x.view.Ambient()
	}
	var v *view
	if !own {
		v = w.views.get(k)
	}
	now := time.Now()
	if v == nil || v.gen != w.gen.Load() || !now.Before(v.expires) {
		var err error
		if v, err = g.join(ctx, x, k, own); err != nil {
			return false, err
		}
		now = time.Now() // servers were waited for
	}
	x.partial = v.partial
	x.Out.Body, x.Out.Message = v.raw.Body, v.raw.Message
	x.Out.Edits.Replace(v.raw.ID, x.In.ID.Of(x.In.Body))
	if ttl := v.raw.Get(mcp.KeyTTLMs); ttl.Present() {
		left := strconv.AppendInt(x.scratch[:0], max(min(v.expires.Sub(now), v.most).Milliseconds(), 0), 10)
		x.Out.Edits.Replace(ttl, left)
	}
	return true, nil
}

// join makes the view of the servers' lists as this caller sees them. It is kept for others unless it is this one's own.
func (g *Gateway) join(ctx context.Context, x *Exchange, k viewKey, own bool) (*view, error) {
	w, e := x.world, x.at
	parts, partial, err := g.collectLists(ctx, x, k.method)
	if err != nil {
		return nil, err
	}
	gen := w.gen.Load()
	v := &view{gen: gen, expires: time.Now().Add(time.Duration(ttlMost) * time.Millisecond), most: rightsMost, partial: partial}
	if x.view == nil && slices.ContainsFunc(parts, func(l *listing) bool { return l != nil }) {
		v.most = time.Duration(ttlMost) * time.Millisecond // the servers' lists say it
	}
	for i, l := range parts {
		if l == nil {
			continue
		}
		if l.expires.Before(v.expires) {
			v.expires = l.expires
		}
		if e.members[i].catalog.last(k.method) != l {
			v.gen = gen - 1 // changed meanwhile: good for this answer only
		}
		own = own || l.own
	}
	if e.own != nil {
		err = v.single(x, k, parts[0])
	} else {
		err = v.set(g.aggregate(x, k, parts))
	}
	if err == nil && !own {
		w.views.put(k, v)
	}
	return v, err
}

// collectLists asks the servers of an endpoint for a list, all at the same time, but those that can show nothing of it, at all or
// to this caller. Partial tells that one of them did not tell what it has.
func (g *Gateway) collectLists(ctx context.Context, x *Exchange, method mcp.Method) (parts []*listing, partial bool, err error) {
	c := x.who()
	parts = make([]*listing, len(x.at.members))
	var missing atomic.Bool
	var wg sync.WaitGroup
	for i, m := range x.at.members {
		if x.at.listsOf(m.Name)&listsOf[method] == 0 || !x.at.sees(x.view, m, kindOf[method]) {
			continue
		}
		if !m.ownLists(c) {
			if l := m.catalog.fresh(method); l != nil {
				parts[i] = l
				continue
			}
		}
		wg.Go(func() {
			var err error
			if parts[i], err = g.listsFor(x.noting(ctx), c, m, method); err != nil {
				missing.Store(true)
			}
		})
	}
	wg.Wait()
	if ctx.Err() != nil {
		return nil, false, context.Cause(ctx)
	}
	return parts, missing.Load(), nil
}

func (c *catalog) fresh(m mcp.Method) *listing {
	if l := c.last(m); l != nil && time.Now().Before(l.expires) {
		return l
	}
	return nil
}

func (v *view) set(body []byte) error {
	v.raw = mcp.Raw{Body: body}
	if e := v.raw.Scan(mcp.Limits{Bytes: len(body), Depth: 1 << 20, Values: 1 << 30}); e != nil {
		return errs.E("gateway", errs.Internal, "joined list is not valid: %w", e)
	}
	return nil
}

// aggregate joins the raw elements of all servers' lists, with the servers' prefixes before the names.
func (g *Gateway) aggregate(x *Exchange, k viewKey, parts []*listing) []byte {
	e := x.at
	size, public := 512, x.world.open()
	for i, l := range parts {
		if l == nil {
			continue
		}
		public = public && l.public
		for j := range l.items {
			size += len(l.items[j].raw) + len(e.members[i].Prefix) + 1
		}
	}
	b := append(make([]byte, 0, size), `{"jsonrpc":"2.0","id":0,"result":{`...)
	if k.modern {
		b = append(b, `"resultType":"complete","ttlMs":0,"cacheScope":"`+scope(public)+`",`...)
	}
	b = append(append(append(b, '"'), k.method.Facts().ListKey.String()...), `":[`...)
	owner := map[string]string{}
	var stale []byte
	comma := false
	for i, l := range parts {
		if l == nil {
			continue
		}
		before := len(b)
		for j := range l.items {
			it := &l.items[j]
			if !x.lists(e.members[i], k.method, l, j) {
				continue
			}
			as, ok := g.shown(x.world, e, k.method, e.members[i], it, owner)
			if !ok {
				continue
			}
			if comma {
				b = append(b, ',')
			}
			comma = true
			var left string
			if b, left = it.append(b, as, k.modern); left != "" {
				g.warnOnce("argument that is not shown at "+e.path()+" still stands in the schema", e.members[i].Name, it.key, "argument "+strconv.Quote(left))
			}
		}
		if l.why != nil && len(b) > before { // of a server whose names are not shown nothing is said
			stale = appendStale(stale, e.members[i].Name, l)
		}
	}
	return append(g.appendMeta(append(b, ']'), k.modern, stale), "}}"...)
}

// appendMeta appends the _meta of a joined list, with a comma before it, if there is any.
func (g *Gateway) appendMeta(b []byte, modern bool, stale []byte) []byte {
	if !modern && len(stale) == 0 {
		return b
	}
	b = append(b, `,"_meta":{`...)
	if modern {
		b = append(append(b, `"io.modelcontextprotocol/serverInfo":`...), g.info...)
	}
	if len(stale) > 0 {
		if modern {
			b = append(b, ',')
		}
		b = append(append(b, stale...), '}')
	}
	return append(b, '}')
}

func appendMillis(b []byte, d time.Duration) []byte {
	return strconv.AppendInt(b, d.Milliseconds(), 10)
}

func scope(public bool) string {
	if public {
		return "public"
	}
	return "private"
}

// shown decides whether an element can be offered at an endpoint that shows servers under the gateway's names, and how: what is
// listed must lead back to its server.
func (g *Gateway) shown(w *world, e *endpoint, method mcp.Method, m *member, it *item, owner map[string]string) (guise, bool) {
	if it.app && e.joined() {
		return guise{}, false // here all servers look like one, so a host could not keep another server's app from calling it
	}
	if !it.name.Present() || method == mcp.MethodResourcesTemplatesList || method == mcp.MethodResourcesList {
		return guise{}, g.shownResource(e, m, it, owner)
	}
	as, why := guise{prefix: m.Prefix}, ""
	switch {
	case e.set != nil && method == mcp.MethodToolsList:
		name, t, hindrance := e.set.Tool(m.Server, it.key)
		if t == nil && hindrance == "" {
			return as, false
		}
		if as.tool, why = t, hindrance; name != m.Prefix+it.key {
			as.name = name
		}
	case e.set != nil && !e.set.HoldsPrompt(m.Prefix+it.key):
		return as, false
	case !w.plan.Owns(m.Server, it.key):
		why = "it reads like a name of another server; give this server a prefix"
	}
	if why != "" {
		g.warnOnce("name hidden at "+e.path(), m.Name, it.key, why)
		return as, false
	}
	name := m.Prefix + it.key
	if as.name != "" {
		name = as.name
	}
	if n := len(name); n > nameMost {
		g.warnOnce("name is too long for common clients", m.Name, name,
			"it has "+strconv.Itoa(n)+" characters, clients take "+strconv.Itoa(nameMost)+"; set a shorter prefix")
	}
	return as, true
}

func (g *Gateway) shownResource(e *endpoint, m *member, it *item, owner map[string]string) bool {
	if e.set != nil && !e.set.HoldsResource(it.key) {
		return false
	}
	if other, taken := owner[it.key]; taken {
		g.warnOnce("resource hidden at "+e.path(), m.Name, it.key, "server "+strconv.Quote(other)+" has the same URI; read it at /servers/"+m.Name+"/mcp")
		return false
	}
	owner[it.key] = m.Name
	return true
}

// append appends the element in its guise, and without what legacy clients cannot take. left names an argument that is not
// shown, but of which its schema may still speak.
func (it *item) append(b []byte, as guise, modern bool) (out []byte, left string) {
	var e mcp.Edits
	switch {
	case !it.name.Present():
	case as.name != "":
		e.Replace(it.name, mcp.AppendString(nil, as.name))
	case as.prefix != "":
		e.Replace(mcp.Span{Start: it.name.Start + 1, End: it.name.Start + 1}, []byte(as.prefix))
	}
	if !modern && it.output.Present() {
		e.Remove(it.raw, it.output)
	}
	if as.tool.Retitles() {
		left = tailorTool(&e, it.raw, as.tool)
	}
	return e.Append(b, it.raw), left
}

// single makes the list of one server's own endpoint: its first page as it came, with the elements of the others.
func (v *view) single(x *Exchange, k viewKey, l *listing) error {
	if l == nil {
		l = &listing{public: true} // nothing that the caller may see
	}
	if l.err != nil {
		return l.err
	}
	if l.pages == 0 {
		return v.set([]byte(`{"jsonrpc":"2.0","id":0,"result":{"resultType":"complete","ttlMs":0,"cacheScope":"` +
			scope(l.public && x.world.open()) + `","` + k.method.Facts().ListKey.String() + `":[]}}`))
	}
	page := l.first
	page.Edits.Reset()
	if l.pages > 1 || l.dropped || x.view != nil || (!k.modern && k.method == mcp.MethodToolsList) {
		page.Edits.Replace(page.Get(k.method.Facts().ListKey), l.array(x, k))
	}
	if next := page.Fields[mcp.KeyNextCursor]; next.Present() {
		page.Edits.Remove(page.Body, next)
	}
	if k.modern {
		if add := lacking(&page); add != "" {
			page.Edits.Insert(page.Body, page.Payload, []byte(add))
		}
	}
	if s := page.Get(mcp.KeyCacheScope); s.Present() && (!l.public || !x.world.open()) {
		page.Edits.Replace(s, private) // pages of one list share one scope
	}
	if l.why != nil {
		addMeta(&page, append(appendStale(nil, x.at.own.Name, l), '}'))
	}
	return v.set(page.Append(make([]byte, 0, page.Len())))
}

// addMeta puts a member into the _meta of a result.
func addMeta(out *mcp.Raw, member []byte) {
	if meta := out.Get(mcp.KeyMeta); meta.Present() {
		out.Edits.Insert(out.Body, meta, member)
		return
	}
	out.Edits.Insert(out.Body, out.Payload, append(append([]byte(`"_meta":{`), member...), '}'))
}

// array is the elements of a server's own list as the caller sees them.
func (l *listing) array(x *Exchange, k viewKey) []byte {
	size := 2
	for i := range l.items {
		size += len(l.items[i].raw) + 1
	}
	b := append(make([]byte, 0, size), '[')
	for i := range l.items {
		if !x.lists(x.at.own, k.method, l, i) {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b, _ = l.items[i].append(b, guise{}, k.modern)
	}
	return append(b, ']')
}

// lists tells whether an element is shown to the caller.
func (x *Exchange) lists(m *member, method mcp.Method, l *listing, i int) bool {
	return x.view == nil || may(x.view, x.at.object(m, method, l, i), &x.facts).Listed()
}

// open tells whether everybody is given the same.
func (w *world) open() bool { return !w.guarded && !w.callers.Required() }

// lacking is what a legacy list needs to be a modern one.
func lacking(page *mcp.Raw) string {
	add := ""
	for _, need := range [...]struct {
		key  mcp.Key
		text string
	}{{mcp.KeyResultType, `"resultType":"complete"`}, {mcp.KeyTTLMs, `"ttlMs":0`}, {mcp.KeyCacheScope, `"cacheScope":"private"`}} {
		if page.Get(need.key).Present() {
			continue
		}
		if add != "" {
			add += ","
		}
		add += need.text
	}
	return add
}
