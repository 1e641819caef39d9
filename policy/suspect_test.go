package policy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
)

// What is well formed, but can never match anything, is warned of, and nothing else is.
func TestSuspects(t *testing.T) {
	c := cedarConfig("p.cedar", `permit(principal, action, resource) when { principal.method == "apikey" || "corp" == principal.issuer };
forbid(principal, action, resource) when { resource.server == "serach" && resource.toolset != "supprt" };
forbid(principal, action, resource) unless { principal.roles.contains("analist") || resource.shown == "filse__read" };
permit(principal, action, resource) when {
  principal.method == "token" && principal.issuer == "idp.example" && principal.issuer != "" && resource.server == "pay" &&
  resource.toolset == "support" && principal.roles.contains("analyst") && resource.shown == "pay__x" && resource.shown != "file:///a" &&
  context.args.server == "serach" && principal.subject == "analist"
};
`)
	c.Names.Separator = "__"
	c.Toolsets = map[string]*v1.Toolset{"support": {Servers: []string{"pay"}}}
	c.Auth.Issuers = []v1.Issuer{{Issuer: "https://idp.example"}}
	c.Policies.Roles = map[string]v1.Role{"analyst": {
		Allow: []string{"search__*", "serach__*", "*", "*_read", "pay__x", "pya__x", "pay__"}, Deny: []string{"fil*", "files_*", "flies*"}, Prompts: []string{"p*", "x"},
		Resources: []string{"file:///*"},
	}}
	c.Policies.Bindings = []v1.Binding{{Role: "analyst", Group: "staff"}, {Role: "analyst", Everyone: true}}
	const begin = "; names at /mcp begin with that of their server: files__, pay__, search__"
	want := []string{
		`policies.roles.analyst.allow[1]: "serach__*" fits nothing` + begin,
		`policies.roles.analyst.allow[5]: "pya__x" fits nothing` + begin,
		`policies.roles.analyst.allow[6]: "pay__" fits nothing` + begin,
		`policies.roles.analyst.deny[2]: "flies*" fits nothing` + begin,
		`policies.roles.analyst.prompts[1]: "x" fits nothing` + begin,
		`policies.bindings[0].group: tokens have no groups, since no entry of auth.issuers has claims.groups: only managed keys can be in "staff"`,
		`p.cedar:1: principal.method is never "apikey"; there are: anonymous, api_key, token, client_certificate, trusted_proxy`,
		`p.cedar:1: principal.issuer is never "corp"; the names of auth.issuers are: idp.example`,
		`p.cedar:2: there is no server "serach" in mcpServers`,
		`p.cedar:2: there is no toolset "supprt" in toolsets`,
		`p.cedar:3: there is no role "analist" in policies.roles`,
		`p.cedar:3: resource.shown is never "filse__read"` + begin,
	}
	if diff := cmp.Diff(want, policy.Suspects(c)); diff != "" {
		t.Errorf("suspects (-want +got):\n%s", diff)
	}
	c.Auth.Issuers[0].Claims.Groups = "groups"
	c.Policies.Roles, c.Policies.Files = nil, nil
	if got := policy.Suspects(c); len(got) > 0 {
		t.Errorf("of what can match it says %q", got)
	}
}
