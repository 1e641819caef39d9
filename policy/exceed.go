package policy

import (
	"bytes"
	"slices"

	"github.com/toolcrib/toolcrib/identity"
)

// Exceeds names a policy by which p may do what q may not: a permit that concerns p, or a forbid that concerns q, and the other not or
// in another way. It is empty where there is none.
func (s *Set) Exceeds(p, q *identity.Principal) string {
	of, than := s.newViewOf(p), s.newViewOf(q)
	for i, r := range s.roles {
		forbid := len(s.roles) + i
		if of.fits.has(i) && !than.fits.has(i) || len(r.Deny) > 0 && than.fits.has(forbid) && !of.fits.has(forbid) {
			return "role " + r.name
		}
	}
	for j, r := range s.cedar {
		i, about := 2*len(s.roles)+j, than
		if r.permit {
			about = of
		}
		both := of.fits.has(i) && than.fits.has(i) && of.unsure.has(i) == than.unsure.has(i)
		if about.fits.has(i) && !(both && alike(r, p, q, of, than)) {
			return r.name
		}
	}
	return ""
}

func (s *Set) newViewOf(p *identity.Principal) *View {
	v, _ := s.newView(p)
	return v
}

// alike tells whether what a rule asks of a principal is the same for both.
func alike(r *rule, p, q *identity.Principal, of, than *View) bool {
	return bytes.Equal(facts(inOrder(p), of.Roles(), r.uses, nil), facts(inOrder(q), than.Roles(), r.uses, nil))
}

// inOrder is the principal with its lists in order, so that those with the same facts look the same.
func inOrder(p *identity.Principal) *identity.Principal {
	same := *p
	same.Groups, same.Scopes = slices.Sorted(slices.Values(p.Groups)), slices.Sorted(slices.Values(p.Scopes))
	if len(p.Attributes) == 0 {
		same.Attributes = nil
	}
	return &same
}
