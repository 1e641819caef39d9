package plan

import "slices"

// Visible tells whether something that is kept to some tenants exists for the principals of one: nil keeps it to nobody, and an
// empty list to no tenant at all.
func Visible(tenants []string, tenant string) bool {
	return tenants == nil || slices.Contains(tenants, tenant)
}

// For tells whether the server exists for the principals of a tenant. For all others it is as if there were none of its name.
func (s *Server) For(tenant string) bool { return Visible(s.Spec.Tenants, tenant) }
