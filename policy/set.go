package policy

import (
	"crypto/sha256"
	"encoding/json"
	"slices"
	"sync/atomic"

	"github.com/cedar-policy/cedar-go"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// The bounds of what is remembered.
const (
	principalsMost = 10_000
	viewsMost      = 2_000
	classesMost    = 20_000
	classBytes     = 64 << 20 // of all classes together, about
)

// Set is all policies of one configuration. It is safe for concurrent use.
type Set struct {
	id       uint64 // tells the set from all others
	slot     int    // 0, or 1 for one that decides nothing
	enforced bool
	roles    []*role
	byName   map[string]int // into roles
	bindings *bindings
	index    *roleIndex
	cedar    []*rule
	about    scopes              // of cedar, by resource
	who      scopes              // of cedar, by principal
	servers  map[string][]string // the tenants of servers that are not for all
	toolsets map[string][]string
	shadow   *Set
	warnings []string
	digest   [sha256.Size]byte

	principals cache[*identity.Principal, *View]
	views      cache[string, *View]
	classes    cache[string, *class]
}

var sets atomic.Uint64

// Options are what Compile takes besides the configuration.
type Options struct{}

// Compile makes the set of a validated configuration. Its error is all that is wrong with the Cedar policies, a line
// each.
func Compile(c *v1.Config, _ Options) (*Set, error) {
	s, err := compile(c, &c.Policies)
	if err != nil {
		return nil, err
	}
	if next := c.Policies.Next; next != nil {
		if s.shadow, err = compile(c, next); err != nil {
			return nil, err
		}
		s.shadow.slot = 1
	}
	return s, nil
}

func compile(c *v1.Config, p *v1.Policies) (*Set, error) {
	s := &Set{id: sets.Add(1), enforced: c.Auth.Configured() || p.Any(), byName: map[string]int{}, roles: rolesOf(p)}
	for i, r := range s.roles {
		s.byName[r.name] = i
	}
	s.bindings = newBindings(p.Bindings, s.byName)
	s.index = newRoleIndex(s.roles)
	s.restrict(c)
	parsed, err := load(c, p)
	if err != nil {
		return nil, err
	}
	for _, p := range parsed {
		r := newRule(p)
		s.about.add(r.about.Resource, len(s.cedar))
		s.who.add(r.about.Principal, len(s.cedar))
		s.cedar = append(s.cedar, r)
	}
	s.warnings = contradictions(c, p, s)
	if s.digest, err = digest(c, p); err != nil {
		return nil, err
	}
	s.principals.most, s.views.most = principalsMost, viewsMost
	s.classes.most = int64(max(16, min(classesMost, classBytes/(256+s.count()/4))))
	return s, nil
}

// restrict takes over for which tenants servers and toolsets are.
func (s *Set) restrict(c *v1.Config) {
	s.servers, s.toolsets = map[string][]string{}, map[string][]string{}
	for name, server := range c.MCPServers {
		if server.Tenants != nil {
			s.servers[name] = server.Tenants
		}
	}
	for name, toolset := range c.Toolsets {
		if toolset.Tenants != nil {
			s.toolsets[name] = toolset.Tenants
		}
	}
}

// count is how many rules there are: a permit and a forbid of each role, and the Cedar policies behind.
func (s *Set) count() int { return 2*len(s.roles) + len(s.cedar) }

// digest tells sets apart that decide differently.
func digest(c *v1.Config, p *v1.Policies) (sum [sha256.Size]byte, err error) {
	tenants := map[string][]string{}
	for _, name := range c.ServerNames() {
		tenants[name] = c.MCPServers[name].Tenants
	}
	text, err := json.Marshal([]any{c.Auth.Configured(), p.Any(), p.Roles, p.Bindings, p.Files, tenants, c.Toolsets})
	return sha256.Sum256(text), err
}

// Digest is the same for sets that decide alike.
func (s *Set) Digest() string { return string(s.digest[:]) }

// Enforced tells whether what nothing permits is denied. Without authentication and policies everything is permitted.
func (s *Set) Enforced() bool { return s.enforced }

// HasRole tells whether there is a role of that name.
func (s *Set) HasRole(name string) bool {
	_, ok := s.byName[name]
	return ok
}

// Warnings are what is valid but can hardly be meant.
func (s *Set) Warnings() []string { return s.warnings }

// Shadow is the set that decides nothing, to be compared with; nil where there is none.
func (s *Set) Shadow() *Set { return s.shadow }

// visible tells whether the server and the toolset of an object exist for a tenant.
func (s *Set) visible(o *Object, tenant string) bool {
	server, bound := s.servers[o.Server]
	if bound && !slices.Contains(server, tenant) {
		return false
	}
	toolset, bound := s.toolsets[o.Toolset]
	return o.Toolset == "" || !bound || slices.Contains(toolset, tenant)
}

// class is all objects that are the same to the policies.
type class struct {
	// fits are the rules that the object's side does not rule out, unsure those of them with a condition about it that
	// cannot be evaluated.
	fits, unsure rules
	server, set  string // where they are for some tenants only
	entity       *cedar.Entity
}

// memo is what an object remembers of a set.
type memo struct {
	set   uint64
	class *class
}

// classOf returns the class of an object; kept tells whether others will find it.
func (s *Set) classOf(o *Object) (c *class, kept bool) {
	if m := o.memo[s.slot].Load(); m != nil && m.set == s.id {
		return m.class, true
	}
	c, key := s.classify(o)
	if o.Once {
		if known, ok := s.classes.get(string(key)); ok {
			return known, true
		}
		return c, false
	}
	known, ok := s.classes.get(string(key))
	if !ok {
		known = s.classes.put(string(key), c)
	}
	o.memo[s.slot].Store(&memo{set: s.id, class: known})
	return known, true
}

// classify finds the class of an object, and what tells it from other classes.
func (s *Set) classify(o *Object) (*class, []byte) {
	c := &class{fits: newRules(s.count())}
	s.index.find(o, c.fits)
	full := s.classifyCedar(o, c)
	if _, ok := s.servers[o.Server]; ok {
		c.server = o.Server
	}
	if _, ok := s.toolsets[o.Toolset]; ok {
		c.set = o.Toolset
	}
	key := c.fits.append(append(make([]byte, 0, 64), byte(o.Kind)))
	key = c.unsure.append(append(key, '/'))
	key = appendText(appendText(key, c.server), c.set)
	if full {
		key = o.facts(key)
	}
	return c, key
}

// classifyCedar adds the Cedar policies that the object's side does not rule out. It tells whether the class is of
// objects that are the same in every respect, because some condition asks for the object along with something else.
func (s *Set) classifyCedar(o *Object, c *class) (full bool) {
	if len(s.cedar) == 0 {
		return false
	}
	c.entity = objectEntity(o)
	c.unsure = newRules(s.count())
	view := &scene{principal: nobody, resource: c.entity, action: actionOf(o.Kind)}
	act, _ := view.Get(view.action)
	odd := o.Kind == KindResource && winding(o.Name)
	s.about.each(c.entity, func(j int) {
		r := s.cedar[j]
		if !concerns(r.about.Resource, c.entity) || !concerns(r.about.Action, &act) {
			return
		}
		out := static(r.what, view)
		if out == fails {
			return
		}
		i := 2*len(s.roles) + j
		c.fits.add(i)
		if out == errs || odd && r.named {
			c.unsure.add(i)
		}
		full = full || r.asks&needObject != 0
	})
	return full
}
