package policy_test

import (
	"fmt"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/policy"
)

// grants is a configuration with n grants, of which the last 20 have conditions on arguments, and a list of 2,500 tools.
func grants(n int) (*v1.Config, []*policy.Object) {
	c := &v1.Config{MCPServers: map[string]*v1.Server{}}
	var tools []*policy.Object
	for i := range 50 {
		server := fmt.Sprintf("s%02d", i)
		labels := map[string]string{"tier": []string{"core", "edge"}[i%2]}
		c.MCPServers[server] = &v1.Server{Labels: labels}
		for j := range 50 {
			name := fmt.Sprintf("tool_%02d", j)
			tools = append(tools, &policy.Object{
				Kind: policy.KindTool, Server: server, Name: name, Shown: server + "__" + name, Labels: labels,
				Hints: policy.Hints{ReadOnly: j%2 == 0, Destructive: j%2 == 1},
			})
		}
	}
	p := &c.Policies
	p.Roles = map[string]v1.Role{}
	for i := range n - min(20, n/2) {
		name := fmt.Sprintf("role%05d", i)
		p.Roles[name] = v1.Role{Allow: []string{fmt.Sprintf("s%02d__tool_%02d", i%50, i/50%50), fmt.Sprintf("s%02d__tool_%d*", i%50, i%5)}, ReadOnly: i%3 == 0}
		p.Bindings = append(p.Bindings, v1.Binding{Role: name, Group: fmt.Sprintf("group%d", i%10)})
	}
	text := ""
	for i := range min(20, n/2) {
		text += fmt.Sprintf("permit(principal in Group::\"group%d\", action == Action::\"call\", resource == Tool::\"s%02d/tool_49\")\nwhen { context.args.amount <= %d };\n", i%10, i, i*100)
	}
	text += "forbid(principal, action, resource) when { resource.destructive && resource.labels.tier == \"core\" && !(principal in Group::\"ops\") };\n"
	p.Cedar, p.Files = []string{"p.cedar"}, []v1.PolicyFile{{Name: "p.cedar", Text: text}}
	return c, tools
}

func caller(i int) *identity.Principal {
	return &identity.Principal{
		Subject: fmt.Sprintf("user%d", i), Tenant: "acme", Groups: []string{fmt.Sprintf("group%d", i%10), fmt.Sprintf("group%d", (i/10)%10), "staff"},
		Method: identity.MethodToken, Attributes: map[string]any{"limit": i},
	}
}

var sizes = []int{10, 200, 10_000}

// A call whose tool no condition on arguments is about.
func BenchmarkDecision(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			c, tools := grants(n)
			s, p, f := compile(b, c), caller(1), args(`{"amount":5}`)
			b.ReportAllocs()
			for b.Loop() {
				s.View(p).May(tools[120], f)
			}
		})
	}
}

// A call whose arguments decide.
func BenchmarkDecisionByArguments(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			c, tools := grants(n)
			s, p, f := compile(b, c), caller(1), args(`{"amount":5,"text":"some more that no policy looks at"}`)
			if d := s.View(p).May(tools[99], f); !d.Allowed {
				b.Fatalf("%+v", d)
			}
			b.ReportAllocs()
			for b.Loop() {
				s.View(p).May(tools[99], f)
			}
		})
	}
}

// A list of 2,500 tools for a principal that was never seen, of a class that was not either.
func BenchmarkListOfANewPrincipal(b *testing.B) {
	for _, n := range sizes {
		b.Run(fmt.Sprintf("grants=%d", n), func(b *testing.B) {
			c, tools := grants(n)
			s, f := compile(b, c), args("")
			f.Args = nil
			list(s, caller(0), tools, f)
			i := 1
			for b.Loop() {
				p := caller(i)
				p.Groups = append(p.Groups, fmt.Sprint("only", i)) // so that no view is shared
				p.Roles = []string{fmt.Sprintf("role%05d", i%5)}
				list(s, p, tools, f)
				i++
			}
		})
	}
}

// The list for a principal that was seen.
func BenchmarkListOfAKnownPrincipal(b *testing.B) {
	c, tools := grants(200)
	s, f, p := compile(b, c), args(""), caller(1)
	f.Args = nil
	for b.Loop() {
		list(s, p, tools, f)
	}
}

func list(s *policy.Set, p *identity.Principal, tools []*policy.Object, f *policy.Facts) (n int) {
	v := s.View(p)
	for _, o := range tools {
		if v.May(o, f).Listed() {
			n++
		}
	}
	return n
}
