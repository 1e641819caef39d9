package policy

import (
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/toolcrib/toolcrib/identity"
)

// Explanation says how a decision came about.
type Explanation struct {
	// Allowed, Rule and Scopes are the decision.
	Allowed bool     `json:"allowed"`
	Rule    string   `json:"rule"`
	Scopes  []string `json:"scopes,omitempty"`
	// Assumed is what of the principal nobody said and could be otherwise: its method and its issuer.
	Assumed string `json:"assumed,omitempty"`
	// Principal, Object and Call are the facts.
	Principal PrincipalFacts `json:"principal"`
	Object    ObjectFacts    `json:"object"`
	Call      CallFacts      `json:"call"`
	// Considered are the rules that are about the principal and the object, and Others counts those that are not.
	Considered []Considered `json:"considered"`
	Others     int          `json:"others"`
}

// PrincipalFacts are the facts of a principal.
type PrincipalFacts struct {
	Key     string `json:"key"`
	Subject string `json:"subject"`
	Tenant  string `json:"tenant"`
	// Roles are those that it has, each with what gives it: "analyst via group analysts".
	Roles      []string       `json:"roles"`
	Groups     []string       `json:"groups"`
	Scopes     []string       `json:"scopes"`
	Issuer     string         `json:"issuer,omitempty"`
	Client     string         `json:"client,omitempty"`
	Method     string         `json:"method"`
	Attributes map[string]any `json:"attributes,omitempty"`
}

// ObjectFacts are the facts of what is asked for.
type ObjectFacts struct {
	Kind    string            `json:"kind"`
	Server  string            `json:"server"`
	Toolset string            `json:"toolset,omitempty"`
	Name    string            `json:"name"`
	Shown   string            `json:"shown"`
	Labels  map[string]string `json:"labels,omitempty"`
	// ReadOnly and so on are the hints of a tool.
	ReadOnly    bool `json:"readOnly"`
	Destructive bool `json:"destructive"`
	Idempotent  bool `json:"idempotent"`
	OpenWorld   bool `json:"openWorld"`
}

// CallFacts are the facts of the call.
type CallFacts struct {
	Time    time.Time `json:"time"`
	Client  string    `json:"client,omitempty"`
	Version string    `json:"version,omitempty"`
	Address string    `json:"address,omitempty"`
	// Arguments are as they were given; empty where it is asked for some arguments.
	Arguments string `json:"arguments,omitempty"`
}

// Considered is a rule that was considered.
type Considered struct {
	// Rule is its name, and Effect permit or forbid.
	Rule   string `json:"rule"`
	Effect string `json:"effect"`
	// Result is "applies", "does not apply", "cannot be evaluated" or "depends on the arguments".
	Result string `json:"result"`
	// Why is the condition that decided, where one did.
	Why string `json:"why,omitempty"`
	// Cedar is the policy.
	Cedar string `json:"cedar"`
}

// results are the words for outcomes.
var results = map[outcomes]string{holds: "applies", fails: "does not apply", errs: "cannot be evaluated", anything: "depends on the arguments"}

// Explain decides as View(p).May(o, f) does, and says how.
func (s *Set) Explain(p *identity.Principal, o *Object, f *Facts) *Explanation {
	once := &Object{Kind: o.Kind, Server: o.Server, Toolset: o.Toolset, Name: o.Name, Shown: o.Shown, Labels: o.Labels, Hints: o.Hints, Once: true}
	v, _ := s.newView(p)
	d := v.May(once, f)
	h := hintsOf(once)
	e := &Explanation{
		Allowed: d.Allowed, Rule: d.Rule, Scopes: d.Scopes, Principal: s.factsOf(p, v), Call: factsOfCall(f), Considered: []Considered{},
		Object: ObjectFacts{
			Kind: strings.ToLower(o.Kind.String()), Server: o.Server, Toolset: o.Toolset, Name: o.Name, Shown: o.Shown, Labels: o.Labels,
			ReadOnly: h.ReadOnly, Destructive: h.Destructive, Idempotent: h.Idempotent, OpenWorld: h.OpenWorld,
		},
	}
	s.explainRoles(e, v, once)
	s.explainCedar(e, v, once, f)
	return e
}

func (s *Set) factsOf(p *identity.Principal, v *View) PrincipalFacts {
	roles := make([]string, 0, len(v.held))
	for _, h := range v.held {
		roles = append(roles, strings.TrimPrefix(s.nameHeld(h), "role "))
	}
	list := func(all []string) []string { return append([]string{}, all...) }
	return PrincipalFacts{
		Key: userID(p), Subject: p.Subject, Tenant: p.Tenant, Roles: roles, Groups: list(p.Groups), Scopes: list(p.Scopes),
		Issuer: p.Issuer, Client: p.Client, Method: string(p.Method), Attributes: p.Attributes,
	}
}

func factsOfCall(f *Facts) CallFacts {
	c := CallFacts{Time: f.Now.UTC(), Client: f.Client, Version: f.ClientVersion, Arguments: string(f.Args)}
	if f.Address.IsValid() {
		c.Address = f.Address.String()
	}
	return c
}

// explainRoles adds the roles that the principal has, or would have with further scopes.
func (s *Set) explainRoles(e *Explanation, v *View, o *Object) {
	c, _ := s.classOf(o)
	add := func(h held, result string) {
		text := s.roleText(h.role)
		e.Considered = append(e.Considered, Considered{s.nameHeld(h), "permit", result, "", text})
		if len(s.roles[h.role].Deny) > 0 {
			denies := fails
			if c.fits.has(len(s.roles) + h.role) {
				denies = holds
			}
			e.Considered = append(e.Considered, Considered{s.nameHeld(h), "forbid", results[denies], "", text})
		}
	}
	has := map[int]bool{}
	for _, h := range v.held {
		has[h.role] = true
		result := results[fails]
		if c.fits.has(h.role) {
			result = results[holds]
		}
		add(h, result)
	}
	for _, h := range v.lacking {
		has[h.role] = true
		if c.fits.has(h.role) {
			add(h, "would apply with the scopes "+strings.Join(h.via.Scopes, " "))
		}
	}
	e.Others += len(s.roles) - len(has)
}

func (s *Set) roleText(role int) string {
	policies := s.rolePolicies(role)
	texts := make([]string, 0, len(policies))
	for _, p := range policies {
		texts = append(texts, string(p.MarshalCedar()))
	}
	return strings.Join(texts, "\n\n")
}

// explainCedar adds the Cedar policies whose scope takes in principal, action and object.
func (s *Set) explainCedar(e *Explanation, v *View, o *Object, f *Facts) {
	if len(s.cedar) == 0 {
		return
	}
	view := &scene{principal: v.entity, resource: objectEntity(o), action: actionOf(o.Kind)}
	act, _ := view.Get(view.action)
	for _, r := range s.cedar {
		if !concerns(r.about.Principal, v.entity) || !concerns(r.about.Action, &act) || !concerns(r.about.Resource, view.resource) {
			e.Others++
			continue
		}
		t := newTrial(view, o.Kind, f, &r.want, r.needs)
		out, why := t.explain(r)
		effect := "forbid"
		if r.permit {
			effect = "permit"
		}
		if out == errs && !r.permit {
			why += "; a forbid that cannot be evaluated applies"
		}
		e.Considered = append(e.Considered, Considered{r.name, effect, results[out], why, string(fromAST(r.about).MarshalCedar())})
	}
}

// explain tells what a policy comes to, and the condition that has the last word.
func (t *trial) explain(r *rule) (out outcomes, why string) {
	out = holds
	for _, list := range [...][]cond{r.who, r.what, r.both, r.call} {
		for _, c := range list {
			o, text := t.explainCond(c)
			switch {
			case o == fails:
				return fails, "this does not hold: " + textOf(c.node)
			case o == errs && out != errs:
				out, why = errs, text+" in: "+textOf(c.node)
			case o&(o-1) != 0 && out == holds:
				out, why = anything, "this decides: "+textOf(c.node)
			}
		}
	}
	return out, why
}

func (t *trial) explainCond(c cond) (outcomes, string) {
	if c.needs&needArguments != 0 && t.unknown {
		return t.estimate().node(c.node), ""
	}
	o, text := evaluate(c.policy, t.scene)
	if o == errs && t.err != nil && c.needs&needArguments != 0 {
		text = "the arguments cannot be read: " + t.err.Error()
	}
	return o, text
}

// textOf writes a condition in Cedar's language.
func textOf(n ast.IsNode) string {
	_, text, _ := strings.Cut(string(when(n).MarshalCedar()), "when {")
	return strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(text), "};"))
}
