package plan_test

import "testing"

// TestFor: a server without tenants is everybody's, and one with an empty list nobody's.
func TestFor(t *testing.T) {
	p := compile(t, `
mcpServers:
  all: {command: x}
  some: {command: x, tenants: [acme, globex]}
  none: {command: x, tenants: []}
`)
	for server, want := range map[string][3]bool{"all": {true, true, true}, "some": {true, true, false}, "none": {false, false, false}} {
		for i, tenant := range []string{"acme", "globex", "default"} {
			if got := p.Server(server).For(tenant); got != want[i] {
				t.Errorf("%s for %s: %v", server, tenant, got)
			}
		}
	}
}
