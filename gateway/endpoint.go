package gateway

import "github.com/toolcrib/toolcrib/errs"

// endpoint is what is served at a path: one server under its own names, or several as one.
type endpoint struct {
	name    string    // as Exchange.Endpoint has it
	own     *member   // the server whose own endpoint it is; nil where servers are shown under the gateway's names
	members []*member // that it shows, in the order of their names
	byName  map[string]*member
	// families: some server of it is isolated.
	families bool
}

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
}

func newEndpoint(name string, members []*member) *endpoint {
	e := &endpoint{name: name, members: members, byName: make(map[string]*member, len(members))}
	for _, m := range members {
		e.byName[m.Name] = m
		e.families = e.families || m.family != nil
	}
	return e
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
	x.world = w
	x.Endpoint = w.stands(x.Endpoint)
	x.at = w.endpoints[x.Endpoint]
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
	return false
}

// member is the server of that name; nil where it is none of the endpoint's.
func (e *endpoint) member(server string) *member { return e.byName[server] }

// noEndpoint is the answer where nothing is served.
func noEndpoint(name string) error {
	return errs.E("front", errs.NoEndpoint, "there is no server %.80q; the endpoints are /mcp and /servers/{name}/mcp", name)
}
