package gateway

import (
	"context"
	"reflect"
	"slices"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// endpoint is what is served at a path: one server under its own names, several as one, or a toolset.
type endpoint struct {
	name    string    // as Exchange.Endpoint has it
	own     *member   // the server whose own endpoint it is; nil where servers are shown under the gateway's names
	members []*member // that it shows, in the order of their names
	byName  map[string]*member
	// families: some server of it is isolated.
	families bool
	// set is the toolset that is served; nil where all of the servers' is. lists are those of each server that show in it.
	set     *plan.Toolset
	toolset string // its name
	lists   map[string]upstream.Lists
	// reach is what of each server can be asked for, by kind.
	reach map[string]*[kinds]policy.Object
}

// kinds is how many there are.
const kinds = policy.KindResource + 1

// ToolsetsAt is what the names of toolsets' endpoints begin with; no server's name has a slash.
const ToolsetsAt = "toolsets/"

// aggregated is the name of the endpoint that shows all servers as one.
const aggregated = ""

// lay makes the endpoints of a world, once its servers are known.
func (w *world) lay() {
	w.endpoints = make(map[string]*endpoint, len(w.order)+1)
	w.endpoints[aggregated] = newEndpoint(aggregated, w.order)
	for _, m := range w.order {
		e := newEndpoint(m.Name, []*member{m})
		e.own = m
		w.endpoints[m.Name] = e
	}
	for _, t := range w.plan.Toolsets {
		e := w.newToolset(t)
		w.endpoints[e.name] = e
	}
}

func (w *world) newToolset(t *plan.Toolset) *endpoint {
	members := make([]*member, len(t.Servers))
	lists := map[string]upstream.Lists{}
	for i, s := range t.Servers {
		m := w.members[s.Name]
		members[i] = m
		tools, prompts, resources := t.Changed(s)
		for bit, shows := range map[upstream.Lists]bool{upstream.ListTools: tools, upstream.ListPrompts: prompts, upstream.ListResources: resources} {
			if shows {
				lists[m.Name] |= bit
			}
		}
	}
	e := newEndpoint(ToolsetsAt+t.Name, members)
	e.set, e.toolset, e.lists = t, t.Name, lists
	e.survey()
	return e
}

// listsOf are the lists of a server that show at the endpoint.
func (e *endpoint) listsOf(server string) upstream.Lists {
	if e.set == nil {
		return upstream.AllLists
	}
	return e.lists[server]
}

// allLists are the lists that the endpoint has.
func (e *endpoint) allLists() upstream.Lists {
	if e.set == nil {
		return upstream.AllLists
	}
	var all upstream.Lists
	for _, lists := range e.lists {
		all |= lists
	}
	return all
}

// resolve finds the server of a tool or prompt, the server's own name for it, and what is different of it here; the server is
// nil when nothing has that name. It undoes shown.
func (e *endpoint) resolve(p *plan.Plan, method mcp.Method, name []byte) (*member, []byte, *plan.ToolsetTool) {
	var s *plan.Server
	var own []byte
	var t *plan.ToolsetTool
	switch {
	case e.set == nil:
		s, own = p.Split(name)
	case method == mcp.MethodToolsCall:
		s, own, t = e.set.FindTool(name)
	default:
		s, own = e.set.FindPrompt(name)
	}
	if s == nil {
		return nil, nil, nil
	}
	return e.byName[s.Name], own, t
}

// guise is how an element of a list is shown.
type guise struct {
	prefix string            // before its name
	name   string            // in place of its name; empty for none
	tool   *plan.ToolsetTool // what is different besides; nil for nothing
}

func newEndpoint(name string, members []*member) *endpoint {
	e := &endpoint{name: name, members: members, byName: make(map[string]*member, len(members))}
	for _, m := range members {
		e.byName[m.Name] = m
		e.families = e.families || m.family != nil
	}
	e.survey()
	return e
}

// survey notes what can be asked for at all, besides the names.
func (e *endpoint) survey() {
	e.reach = make(map[string]*[kinds]policy.Object, len(e.members))
	for _, m := range e.members {
		all := new([kinds]policy.Object)
		for kind := range all {
			all[kind] = policy.Object{Kind: policy.Kind(kind), Server: m.Name, Toolset: e.toolset, Shown: m.Prefix, Labels: m.Spec.Labels}
		}
		e.reach[m.Name] = all
	}
}

// showing are the endpoints that show each server.
func (w *world) showing() map[string][]string {
	all := make(map[string][]string, len(w.order))
	for name, e := range w.endpoints {
		for _, m := range e.members {
			all[m.Name] = append(all[m.Name], name)
		}
	}
	return all
}

// holdsOther tells whether a toolset may not hold a resource any more that it held.
func (e *endpoint) holdsOther(was *endpoint) bool {
	return e != nil && was != nil && e.set != nil && was.set != nil &&
		!(slices.Equal(e.set.Spec.Servers, was.set.Spec.Servers) && reflect.DeepEqual(e.set.Spec.Resources, was.set.Spec.Resources))
}

// stands is the endpoint that a name stands for: /mcp with an only server, under that server's own names, is that server's.
func (w *world) stands(name string) string {
	if name == aggregated {
		return w.alias()
	}
	return name
}

// alias is the server that /mcp stands for; empty when it stands for all of them together.
func (w *world) alias() string {
	if len(w.order) == 1 && w.order[0].Prefix == "" {
		return w.order[0].Name
	}
	return aggregated
}

// bind has the exchange served by a world.
func (x *Exchange) bind(w *world) {
	x.world, x.sought = w, x.Endpoint
	x.Endpoint = w.stands(x.Endpoint)
	x.at = w.endpoints[x.Endpoint]
}

// path is where the endpoint is served.
func (e *endpoint) path() string {
	switch {
	case e.set != nil:
		return "/" + e.name + "/mcp"
	case e.own != nil:
		return "/servers/" + e.name + "/mcp"
	}
	return "/mcp"
}

// arrive takes the caller in, for whom the endpoint may not exist. /mcp does for everybody, also where it stands for one server.
func (g *Gateway) arrive(ctx context.Context, x *Exchange) error {
	x.view = x.world.view(x.Principal)
	switch {
	case g.exists(ctx, x):
	case x.sought == aggregated:
		x.Endpoint, x.at = aggregated, x.world.endpoints[aggregated]
	default:
		if x.at != nil {
			x.decision = policy.Decision{Rule: "no policy permits anything at this endpoint"}
		}
		return noEndpoint(x.sought)
	}
	return nil
}

// joined tells whether several servers are shown as one.
func (e *endpoint) joined() bool { return e.own == nil && len(e.members) != 1 }

// shows tells whether something of a server is shown. Nothing is at an endpoint that there is not.
func (e *endpoint) shows(server string) bool { return e != nil && e.member(server) != nil }

// alters tells whether an endpoint shows other servers than before, or under other names.
func (e *endpoint) alters(was *endpoint) bool {
	if was == nil || len(e.members) != len(was.members) {
		return true
	}
	for i, m := range e.members {
		n := was.members[i]
		if m.Name != n.Name || m.server != n.server || e.own == nil && m.Prefix != n.Prefix {
			return true
		}
	}
	return e.set != nil && !reflect.DeepEqual(e.set.Spec, was.set.Spec)
}

// member is the server of that name; nil where it is none of the endpoint's.
func (e *endpoint) member(server string) *member { return e.byName[server] }

// noEndpoint is the answer where nothing is served.
func noEndpoint(name string) error {
	return errs.E("front", errs.NoEndpoint, "nothing is served as %.80q; the endpoints are /mcp, /servers/{name}/mcp and /toolsets/{name}/mcp", name)
}
