package policy

import (
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// binding is a binding of the configuration.
type binding struct {
	v1.Binding
	role int
}

// bindings finds the bindings of a principal.
type bindings struct {
	all                []binding
	byGroup, bySubject map[string][]int
	rest               []int
}

func newBindings(all []v1.Binding, roles map[string]int) *bindings {
	x := &bindings{byGroup: map[string][]int{}, bySubject: map[string][]int{}}
	for _, b := range all {
		i := len(x.all)
		x.all = append(x.all, binding{Binding: b, role: roles[b.Role]})
		switch {
		case b.Subject != "":
			x.bySubject[b.Subject] = append(x.bySubject[b.Subject], i)
		case b.Group != "":
			x.byGroup[b.Group] = append(x.byGroup[b.Group], i)
		default:
			x.rest = append(x.rest, i)
		}
	}
	return x
}

// of returns the bindings that are about a principal, scopes aside, in their order.
func (x *bindings) of(p *identity.Principal) []*binding {
	found := slices.Clone(x.rest)
	found = append(found, x.bySubject[p.Subject]...)
	for _, group := range p.Groups {
		found = append(found, x.byGroup[group]...)
	}
	slices.Sort(found)
	var all []*binding
	for _, i := range slices.Compact(found) {
		if b := &x.all[i]; b.fits(p) {
			all = append(all, b)
		}
	}
	return all
}

// fits tells whether the binding is about a principal, scopes aside.
func (b *binding) fits(p *identity.Principal) bool {
	says := func(want, have string) bool { return want == "" || want == have }
	return (b.Group == "" || slices.Contains(p.Groups, b.Group)) &&
		says(b.Subject, p.Subject) && says(b.Tenant, p.Tenant) && says(b.Issuer, p.Issuer)
}

// permitted tells whether a principal has all scopes that the binding asks for.
func (b *binding) permitted(p *identity.Principal) bool { return b.missing(p) == 0 }

// missing counts the scopes that a principal lacks.
func (b *binding) missing(p *identity.Principal) (n int) {
	for _, scope := range b.Scopes {
		if !slices.Contains(p.Scopes, scope) {
			n++
		}
	}
	return n
}

// via says by what of the caller the binding gives its role.
func (b *binding) via() string {
	if b.Everyone {
		return " via everyone"
	}
	var text strings.Builder
	text.WriteString(" via")
	for _, part := range [...][2]string{{"group", b.Group}, {"subject", b.Subject}, {"tenant", b.Tenant}, {"issuer", b.Issuer}} {
		if part[1] != "" {
			text.WriteString(" " + part[0] + " " + part[1])
		}
	}
	return text.String()
}

// held is a role that a principal has, or would have with further scopes.
type held struct {
	role int
	via  *binding // nil: by itself
}

func (s *Set) nameHeld(h held) string {
	text := "role " + s.roles[h.role].name
	if h.via == nil {
		return text
	}
	return text + h.via.via()
}
