package policy_test

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
)

var update = flag.Bool("update", false, "write the golden files anew")

// Each file of testdata/bad is refused with what stands next to it.
func TestBadPolicies(t *testing.T) {
	files, err := filepath.Glob("testdata/bad/*.cedar")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			_, err = policy.Compile(cedarConfig(filepath.Base(file), string(text)), policy.Options{})
			if err == nil {
				t.Fatal("no problem found")
			}
			got := err.Error() + "\n"
			if *update {
				if err := os.WriteFile(file+".err", []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file + ".err")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("(-want +got), -update writes it anew:\n%s", diff)
			}
		})
	}
}

func TestHugePolicies(t *testing.T) {
	const head = "permit(principal, action, resource) when { "
	for name, text := range map[string]string{
		"brackets":       head + strings.Repeat("(", 100_000),
		"lists":          head + strings.Repeat("[", 100_000),
		"conditions":     head + strings.Repeat("if true then ", 5_000),
		"policy":         head + strings.Repeat("true && ", 100_000) + "true };",
		"unfinished":     head + strings.Repeat("a", 1<<20),
		"string":         head + `"` + strings.Repeat("a", 1<<20) + `"};`,
		"policies":       strings.Repeat("permit(principal, action, resource);", 10_001),
		"semicolons":     strings.Repeat(";", 1<<20),
		"closed":         strings.Repeat(")", 1<<20),
		"comments alone": strings.Repeat("// nothing\n", 50_000) + "x",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := policy.Compile(cedarConfig("p.cedar", text), policy.Options{}); err == nil {
				t.Fatal("no problem found")
			} else if n := len(err.Error()); n > 100_000 {
				t.Fatalf("the error has %d bytes", n)
			}
		})
	}
	long := head + strings.Repeat("true && ", 5_000) + "true };"
	if d := compile(t, cedarConfig("p.cedar", long)).View(alice).May(tool("files", "x", policy.Hints{}), args("{}")); !d.Allowed {
		t.Errorf("got %+v of a long condition", d)
	}
}

func TestContradictionsAreWarnedOf(t *testing.T) {
	s := cedarSet(t, `permit(principal, action, resource in Server::"pay");
permit(principal in Group::"a", action == Action::"call", resource == Tool::"pay/x") when { context.args.amount > 5 && resource.readOnly };
permit(principal, action, resource in Server::"files");
@id("freeze")
forbid(principal, action in [Action::"call", Action::"use"], resource in Server::"pay") when { resource.readOnly };
`, func(c *v1.Config) {
		c.Policies.Roles = map[string]v1.Role{"odd": {Allow: []string{"a"}, Deny: []string{"*"}}}
	})
	want := []string{
		"p.cedar:2: never permits anything, because p.cedar:4 freeze forbids all of it",
		"policies.roles.odd: allows tools or prompts, of which its deny leaves none",
	}
	if diff := cmp.Diff(want, s.Warnings()); diff != "" {
		t.Error(diff)
	}
}

func TestRolesThatPermitNothingAreWarnedOf(t *testing.T) {
	const never = ": never permits anything, because "
	roles := map[string]v1.Role{
		"own":     {Allow: []string{"pay__*", "search__*", "files__read"}, Deny: []string{"pay__*", "files*"}, Prompts: []string{"search__x"}},
		"empty":   {Allow: []string{"pay__*"}, Deny: []string{"pay*"}},
		"readers": {Allow: []string{"files__*", "files__x", "search__*", "*"}, Servers: []string{"search", "files"}, ReadOnly: true},
	}
	for name, test := range map[string]struct {
		cedar string
		roles map[string]v1.Role
		want  []string
	}{
		"by their own deny": {"", roles, []string{
			"policies.roles.empty: allows tools or prompts, of which its deny leaves none",
			"policies.roles.own.allow[0]" + never + "deny[0] covers all of it", "policies.roles.own.allow[2]" + never + "deny[1] covers all of it",
		}},
		"by a forbid of everything": {`forbid(principal, action, resource);`, map[string]v1.Role{"a": {Allow: []string{"*"}, Manage: []string{"*"}}}, []string{
			"policies.roles.a.allow[0]" + never + "p.cedar:1 forbids all of it", "role reader" + never + "p.cedar:1 forbids all of it",
		}},
		"by a forbid of a server": {`forbid(principal, action, resource in Server::"files") when { resource.readOnly };`, map[string]v1.Role{"readers": roles["readers"]}, []string{
			"policies.roles.readers.allow[0]" + never + "p.cedar:1 forbids all of it", "policies.roles.readers.allow[1]" + never + "p.cedar:1 forbids all of it",
			"policies.roles.readers.servers[1]" + never + "p.cedar:1 forbids all of it",
		}},
		"by a forbid of prompts of a role": {
			`forbid(principal in Role::"reader", action, resource is Prompt);`, nil, []string{"role reader prompts[0]" + never + "p.cedar:1 forbids all of it"},
		},
		"not by what forbids some": {
			`forbid(principal in Group::"a", action, resource); forbid(principal, action, resource) when { resource.destructive };`, nil, nil,
		},
	} {
		s := cedarSet(t, test.cedar, func(c *v1.Config) {
			c.Names.Separator = "__"
			c.Policies.Roles, c.Policies.Bindings = test.roles, []v1.Binding{{Everyone: true, Role: "reader"}}
		})
		if diff := cmp.Diff(test.want, s.Warnings()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
