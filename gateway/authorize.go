package gateway

import (
	"context"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
)

// One function decides what a caller may do (policy.View.May), of the same objects for lists, discovery and requests: what is
// listed can be called, and what cannot be called is not listed. Where nothing is enforced there is no view, and nothing is asked.
//
// What is denied looks like what does not exist. So names count as unknown that no list has, and what only a list can tell, the
// annotations of a tool, is known of every tool that is decided about.

// view is what concerns a principal of the policies; nil where nothing is enforced.
func (w *world) view(p *identity.Principal) *policy.View {
	if !w.guarded {
		return nil
	}
	return w.plan.Policies.View(p)
}

// guards tells whether somebody may not do everything by a plan.
func guards(p *plan.Plan) bool {
	if p.Policies.Enforced() {
		return true
	}
	for _, s := range p.Servers {
		if s.Spec.Tenants != nil {
			return true
		}
	}
	for _, t := range p.Config.Toolsets {
		if t.Tenants != nil {
			return true
		}
	}
	return false
}

// authorize decides whether the caller may do what the request asks. Where only the caller's own instance knows what it offers,
// confirm does as soon as there is one: here, or at the replica that has it.
func authorize(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	if x.about != nil && x.about.token != nil {
		return false, nil // a task was decided about when its id was opened
	}
	if x.view == nil && !x.selected() && !x.kept() {
		g.foreshadow(x)
		return false, x.misfit
	}
	m, c := x.member, x.who()
	if m.ownLists(c) {
		k, up := m.family.pool.Peek(m.family.keyOf(c))
		if !up {
			x.unsettled = true
			return false, g.mayReach(x, m)
		}
		m = &k.member
	}
	return false, g.decide(ctx, x, m)
}

// selected tells whether the request names something of a toolset. Only what a toolset lists is there, whoever asks.
func (x *Exchange) selected() bool { return x.at.set != nil && x.kind() != policy.KindResource }

// kept tells whether the request names a tool that may be kept from all callers.
func (x *Exchange) kept() bool { return x.In.Method == mcp.MethodToolsCall && x.member.strict(x.world) }

// confirm decides what authorize could not.
func confirm(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	if !x.unsettled {
		return false, nil
	}
	x.unsettled = false
	return false, g.decide(ctx, x, x.member)
}

// mayReach refuses what no policy permits whatever it is.
func (g *Gateway) mayReach(x *Exchange, m *member) error {
	if x.at.sees(x.view, m, x.kind()) {
		return nil
	}
	return g.deny(x, "no policy permits anything of the kind at this server")
}

// decide decides about what the request asks of a server. What the list last had does not have, or does not permit, may be in the
// next: that one is asked for in both cases, so that they take the same time and fail the same way, if the last is not of just now.
func (g *Gateway) decide(ctx context.Context, x *Exchange, m *member) error {
	method := listOf(x.In.Method)
	o := x.object(m, method, m.lister().catalog.sound(method))
	x.weigh(o)
	if !x.passes(o) {
		if err := g.mayReach(x, m); err != nil {
			return err
		}
		var err error
		if o, err = g.weighAnew(ctx, x, m, method, o); err != nil {
			return err
		}
	}
	if o == nil {
		return g.deny(x, ruleUnlisted)
	}
	if x.view == nil {
		g.foreshadow(x)
		return x.misfit
	}
	g.decided(x, o)
	if err := x.judge(); err != nil {
		return err
	}
	return x.misfit
}

// weighAnew decides by a list of now, where it is one that says what there is; o is what the last said.
func (g *Gateway) weighAnew(ctx context.Context, x *Exchange, m *member, method mcp.Method, o *policy.Object) (*policy.Object, error) {
	if x.kind() == policy.KindResource {
		return o, nil
	}
	l, err := g.listsNow(x.noting(ctx), m.lister(), method)
	if err == nil {
		err = l.err
	}
	if err != nil {
		x.decision = policy.Decision{}
		return nil, err
	}
	o = x.object(m, method, l)
	x.weigh(o)
	if l.why != nil && !x.passes(o) { // the list that could not be had may have it
		x.decision = policy.Decision{}
		return nil, l.why
	}
	return o, nil
}

// object is what the request is about; nil where it names what a list does not have. A URI need not be listed.
func (x *Exchange) object(m *member, method mcp.Method, l *listing) *policy.Object {
	if x.kind() == policy.KindResource {
		return x.at.resource(m, string(x.name))
	}
	if i := l.find(x.name); i >= 0 {
		return x.at.object(m, method, l, i)
	}
	return nil
}

// weigh has the policies decide about what the request is about, if there is any.
func (x *Exchange) weigh(o *policy.Object) {
	if x.view != nil && o != nil {
		x.gather()
		x.decision = may(x.view, o, &x.facts)
	}
}

// passes tells whether something exists for the caller.
func (x *Exchange) passes(o *policy.Object) bool {
	return o != nil && (x.view == nil || x.decision.Listed())
}

// may is the decision about an object. A URI is decided about as it is written and as servers may read it.
func may(v *policy.View, o *policy.Object, f *policy.Facts) policy.Decision {
	d := v.May(o, f)
	if o.Kind != policy.KindResource || !d.Listed() {
		return d
	}
	others, ok := spellings(o.Name)
	if !ok {
		return policy.Decision{Rule: "servers may read its URI in many ways"}
	}
	for _, uri := range others {
		other := policy.Object{Kind: o.Kind, Server: o.Server, Toolset: o.Toolset, Name: uri, Shown: uri, Labels: o.Labels, Once: true}
		switch as := v.May(&other, f); {
		case !as.Listed():
			as.Rule += ", which servers may take the URI for"
			return as
		case !as.Allowed:
			d = as
		}
	}
	return d
}

// deny denies what no policy was asked about.
func (g *Gateway) deny(x *Exchange, rule string) error {
	if x.decision = (policy.Decision{Rule: rule}); x.view != nil {
		g.o.Metrics.Decided(labels[x.kind()], false, false)
	}
	return x.unknown()
}

// ruleUnlisted is why nobody may call what there is not.
const ruleUnlisted = "the server lists nothing of this name"

// denied tells whether the caller was told that there is no such thing since policies do not permit it: only operators may know.
func (x *Exchange) denied(err error) bool {
	d := &x.decision
	return x.view != nil && !d.Allowed && d.Rule != "" && d.Rule != ruleUnlisted && errs.Of(err).Kind == errs.NotFound
}

// judgeURI notes for the record what is decided about a URI, of whichever server it is.
func (x *Exchange) judgeURI(uri string) {
	if x.view == nil {
		return
	}
	x.gather()
	for i, m := range x.at.members {
		d := may(x.view, x.at.resource(m, uri), &x.facts)
		if i == 0 || d.Listed() {
			x.decision = d
		}
		if d.Listed() {
			return
		}
	}
}

// judge turns the decision into an answer. Whoever only lacks scopes is told which.
func (x *Exchange) judge() error {
	switch d := &x.decision; {
	case d.Allowed:
		return nil
	case len(d.Scopes) > 0:
		return identity.Lacking(d.Scopes...)
	}
	return x.unknown()
}

// rights are what decides what a caller may do, and by which facts.
type rights struct {
	view  *policy.View // nil where nothing is enforced
	facts *policy.Facts
}

// rights are those of the caller, for what the request asks.
func (x *Exchange) rights() rights {
	if x.view != nil {
		x.gather()
	}
	return rights{x.view, &x.facts}
}

// rights are those of the client, for a resource and now.
func (w *Watch) rights() rights {
	f := w.facts
	f.Now, f.Args = time.Now(), policy.NoArgs
	return rights{w.view.Load(), &f}
}

// mayRead tells whether the client may read a resource of a server.
func (w *Watch) mayRead(e *endpoint, m *member, uri string) bool {
	r := w.rights()
	return r.view == nil || may(r.view, e.resource(m, uri), r.facts).Allowed
}

// kind is what the request is about.
func (x *Exchange) kind() policy.Kind {
	switch x.In.Method {
	case mcp.MethodToolsCall:
		return policy.KindTool
	case mcp.MethodPromptsGet:
		return policy.KindPrompt
	case mcp.MethodComplete:
		ref := x.In.Get(mcp.KeyRef)
		if t, err := mcp.Lookup(x.In.Body, ref, "type"); err == nil && string(t.Of(x.In.Body)) == `"ref/prompt"` {
			return policy.KindPrompt
		}
	}
	return policy.KindResource
}

// gather notes what a decision may depend on besides who asks for what.
func (x *Exchange) gather() {
	x.facts = policy.Facts{Now: x.started, Args: policy.NoArgs}
	switch x.In.Method {
	case mcp.MethodToolsCall, mcp.MethodPromptsGet:
		if args := x.In.Get(mcp.KeyArguments); x.misfit != nil {
			x.facts.Args = nil // they are refused as soon as it is known that any are permitted
		} else if args.Present() {
			x.facts.Args = args.Of(x.In.Body)
		}
	case mcp.MethodComplete:
		if x.kind() == policy.KindPrompt {
			x.facts.Args = nil // it comes before there are any
		}
	}
	x.surroundings(&x.facts)
}

// surroundings notes where the caller comes from, if that may matter.
func (x *Exchange) surroundings(f *policy.Facts) {
	if (x.view == nil || !x.view.Ambient()) && x.world.plan.Policies.Shadow() == nil {
		return
	}
	info := x.Client.Info
	if x.Client.Modern {
		info = x.In.GetMeta(mcp.MetaClientInfo).Of(x.In.Body)
	}
	f.Client, f.ClientVersion, f.Address = textAt(info, "name"), textAt(info, "version"), x.Request.Remote.Addr()
}

// resource is a URI, listed or not, as policies know it.
func (e *endpoint) resource(m *member, uri string) *policy.Object {
	o := e.make(e.member(m.Name), policy.KindResource, uri) // that of an instance may have the labels of an earlier plan
	o.Once = true
	return o
}

// unknown is the answer to what does not exist for the caller, whether it exists for others or not.
func (x *Exchange) unknown() error {
	if x.kind() == policy.KindResource {
		return unknownResource(string(x.name))
	}
	span, _, err := x.target()
	if err != nil {
		return err
	}
	name, _ := mcp.Text(x.In.Body, span, nil)
	return unknown(x.In.Method, name)
}

// sound is the list last had, unless it is known to have changed since; nil where there is none.
func (c *catalog) sound(m mcp.Method) *listing {
	if l := c.last(m); l != nil && l.err == nil {
		return l
	}
	return nil
}
