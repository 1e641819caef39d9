package policy

import "slices"

// View is what of a set concerns one principal, or all who have the same rights. It is safe for concurrent use.
type View struct {
	set       *Set
	anonymous bool
	tenant    string
	held      []held
	lacking   []held // for want of scopes
}

// held is a role that a principal has.
type held struct {
	role *role
	via  *binding // nil: by itself
}

func (h *held) String() string {
	text := "role " + h.role.name
	if h.via == nil {
		return text
	}
	return text + h.via.via()
}

// via says by what of the caller the binding gives its role.
func (b *binding) via() string {
	if b.Everyone {
		return " via everyone"
	}
	text := " via"
	for _, part := range [...][2]string{{"group", b.Group}, {"subject", b.Subject}, {"tenant", b.Tenant}, {"issuer", b.Issuer}} {
		if part[1] != "" {
			text += " " + part[0] + " " + part[1]
		}
	}
	return text
}

// The rules of decisions that no policy made.
const (
	ruleOpen   = "no policies are configured"
	ruleNone   = "no policy permits it"
	ruleTenant = "it is not for this tenant"
	ruleNobody = "management needs a credential"
)

// May decides whether the principal may use an object: call a tool, get a prompt, read a resource, see it in a list.
func (v *View) May(o *Object, _ *Facts) Decision {
	if !v.set.visible(o, v.tenant) {
		return Decision{Rule: ruleTenant}
	}
	if !v.set.enforced {
		return Decision{Allowed: true, Rule: ruleOpen}
	}
	for i := range v.held {
		if v.held[i].role.forbids(o) {
			return Decision{Rule: v.held[i].String()}
		}
	}
	for i := range v.held {
		if v.held[i].role.permits(o) {
			return Decision{Allowed: true, Rule: v.held[i].String()}
		}
	}
	for i := range v.lacking {
		if l := &v.lacking[i]; l.role.permits(o) && !l.role.forbids(o) {
			return Decision{Rule: l.String(), Scopes: l.via.Scopes}
		}
	}
	return Decision{Rule: ruleNone}
}

// Sees tells whether some policy could permit something of the object's kind, server, toolset and labels, whatever its
// name, its hints and the facts. It is never false where May could permit.
func (v *View) Sees(o *Object) bool {
	if !v.set.visible(o, v.tenant) {
		return false
	}
	reach := func(h held) bool { return h.role.reaches(o) }
	return !v.set.enforced || slices.ContainsFunc(v.held, reach) || slices.ContainsFunc(v.lacking, reach)
}

// Ambient tells whether some decision depends on the time, the client or its address, so that lists are not kept.
func (v *View) Ambient() bool { return false }

// Manages decides whether the principal may do something at the management interface, as "keys:write". Nobody may
// without a credential.
func (v *View) Manages(action string) Decision {
	if v.anonymous {
		return Decision{Rule: ruleNobody}
	}
	for i := range v.held {
		if anyLike(v.held[i].role.Manage, action) {
			return Decision{Allowed: true, Rule: v.held[i].String()}
		}
	}
	return Decision{Rule: ruleNone}
}
