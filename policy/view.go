package policy

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cedar-policy/cedar-go"

	"github.com/toolcrib/toolcrib/identity"
)

// The rules of decisions that no policy made.
const (
	ruleOpen   = "no policies are configured"
	ruleNone   = "no policy permits it"
	ruleTenant = "it is not for this tenant"
	ruleNobody = "management needs a credential"
	ruleAbsent = "it is not there"
	ruleUnsure = " (its condition cannot be evaluated)"
)

// verdictsMost bounds the decisions that a view remembers, and what it remembers of Sees.
const verdictsMost = 10_000

// View is what of a set concerns one principal, or all who have the same rights. It is safe for concurrent use.
type View struct {
	set       *Set
	anonymous bool
	tenant    string
	entity    *cedar.Entity // the principal, or one whom the policies cannot tell from it
	held      []held        // by role
	lacking   []held        // for want of scopes, those that lack least first
	// fits are the rules that the principal's side does not rule out, unsure those of them with a condition about it
	// that cannot be evaluated.
	fits, unsure rules
	ambient      bool

	verdicts sync.Map // *class → *verdict
	n        atomic.Int64
	seen     map[sight]bool
	seeing   sync.RWMutex
}

// View returns what of the set concerns a principal. Principals with the same rights may share it. For a principal
// that was asked for lately, by the same pointer, it is a lookup.
func (s *Set) View(p *identity.Principal) *View {
	if v, ok := s.principals.get(p); ok {
		return v
	}
	v, key := s.newView(p)
	if known, ok := s.views.get(key); ok {
		v = known
	} else {
		v = s.views.put(key, v)
	}
	return s.principals.put(p, v)
}

// newView makes the view of a principal, and what tells it from other views.
func (s *Set) newView(p *identity.Principal) (*View, string) {
	v := &View{set: s, anonymous: p.Method == identity.MethodAnonymous, tenant: p.Tenant, fits: newRules(s.count()), seen: map[sight]bool{}}
	s.bind(v, p)
	roles := make([]string, len(v.held))
	key := make([]byte, 0, 256)
	for i, h := range v.held {
		roles[i] = s.roles[h.role].name
		v.fits.add(h.role)
		v.fits.add(len(s.roles) + h.role)
		key = h.append(key)
	}
	key = append(key, '/')
	for _, h := range v.lacking {
		key = h.append(key)
	}
	if len(s.servers)+len(s.toolsets) > 0 {
		key = appendText(key, v.tenant)
	}
	uses := s.viewCedar(v, p, roles)
	key = v.unsure.append(v.fits.append(append(key, '/')))
	return v, string(facts(p, roles, uses, strconv.AppendBool(key, v.anonymous)))
}

// bind finds the roles that a principal has, and those that it would have with further scopes. Only a token can be
// had with further scopes.
func (s *Set) bind(v *View, p *identity.Principal) {
	has := map[int]bool{}
	for _, name := range p.Roles {
		if i, ok := s.byName[name]; ok && !has[i] {
			has[i] = true
			v.held = append(v.held, held{role: i})
		}
	}
	all := s.bindings.of(p)
	for _, b := range all {
		if !has[b.role] && b.permitted(p) {
			has[b.role] = true
			v.held = append(v.held, held{role: b.role, via: b})
		}
	}
	for _, b := range all {
		if p.Method == identity.MethodToken && !has[b.role] {
			v.lacking = append(v.lacking, held{role: b.role, via: b})
		}
	}
	slices.SortFunc(v.held, func(a, b held) int { return a.role - b.role })
	slices.SortStableFunc(v.lacking, func(a, b held) int { return a.via.missing(p) - b.via.missing(p) })
}

// append adds a role and how it was come by to a key.
func (h held) append(key []byte) []byte {
	key = append(strconv.AppendInt(key, int64(h.role), 10), '=')
	if h.via == nil {
		return append(key, ';')
	}
	key = append(key, h.via.via()...)
	return append(append(key, strings.Join(h.via.Scopes, " ")...), ';')
}

// viewCedar adds the Cedar policies that the principal's side does not rule out. It returns the attributes of the
// principal that still have a say then.
func (s *Set) viewCedar(v *View, p *identity.Principal, roles []string) map[string]bool {
	if len(s.cedar) == 0 {
		return nil
	}
	v.entity, v.unsure = principalEntity(p, roles), newRules(s.count())
	view, uses := &scene{principal: v.entity, resource: nothing}, map[string]bool{}
	s.who.each(v.entity, func(j int) {
		r := s.cedar[j]
		if !concerns(r.about.Principal, v.entity) {
			return
		}
		out := static(r.who, view)
		if out == fails {
			return
		}
		i := 2*len(s.roles) + j
		v.fits.add(i)
		if out == errs {
			v.unsure.add(i)
		}
		for name := range r.uses {
			uses[name] = true
		}
		v.ambient = v.ambient || r.needs&needAmbient != 0
	})
	return uses
}

// facts appends those attributes of a principal to a key that policies ask for.
func facts(p *identity.Principal, roles []string, uses map[string]bool, key []byte) []byte {
	if len(uses) == 0 {
		return key
	}
	all := map[string]any{
		"": []any{p.Key(), p.Tenant, p.Groups, roles}, "subject": p.Subject, "tenant": p.Tenant, "issuer": p.Issuer, "client": p.Client,
		"method": p.Method, "groups": p.Groups, "roles": roles, "scopes": p.Scopes, "attributes": p.Attributes,
	}
	for name := range all {
		if !uses[name] && !uses[""] { // whoever asks for the principal itself may get at all of it
			delete(all, name)
		}
	}
	text, err := json.Marshal(all)
	if err != nil { // it holds what no policy can ask for: nobody shares the view
		return strconv.AppendUint(append(key, '!'), sets.Add(1), 10)
	}
	return append(key, text...)
}

// May decides whether the principal may use an object: call a tool, get a prompt, read a resource, see it in a list.
func (v *View) May(o *Object, f *Facts) Decision {
	c, kept := v.set.classOf(o)
	d := v.verdict(c, kept, o)
	switch {
	case d.needs == 0:
		return d.decision
	case o.Kind != KindResource && f.Args == nil && d.needs&needAmbient == 0:
		return d.listed
	}
	return v.dynamic(d, c, o.Kind, f)
}

// verdict returns what is decided about a class of objects.
func (v *View) verdict(c *class, kept bool, o *Object) *verdict {
	if d, ok := v.verdicts.Load(c); ok {
		return d.(*verdict)
	}
	d := v.decide(c, o)
	if !kept {
		return d
	}
	if v.n.Add(1) > verdictsMost {
		v.verdicts.Clear()
		v.n.Store(1)
	}
	v.verdicts.Store(c, d)
	return d
}

// Exists tells whether a server exists for the principal's tenant.
func (v *View) Exists(server string) bool {
	return v.set.visible(&Object{Server: server}, v.tenant)
}

// Ambient tells whether some decision depends on the time, the client or its address, so that lists are not kept.
func (v *View) Ambient() bool { return v.ambient }

// Manages decides whether the principal may do something at the management interface, as "keys:write". Nobody may
// without a credential.
func (v *View) Manages(what string) Decision { return v.MayManage(what, &Facts{Now: time.Now()}) }
