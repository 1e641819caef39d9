package policy

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// suspectsMost bounds how much is said to be suspect.
const suspectsMost = 100

// Suspects are what in the policies of a valid configuration can never match anything, as a name with a slip in it: of roles
// the patterns, of bindings the groups that nobody has, of Cedar policies the names that they compare with.
func Suspects(c *v1.Config) []string {
	s := &suspects{config: c}
	for _, name := range slices.Sorted(maps.Keys(c.Policies.Roles)) {
		s.role(v1.ChildPath("policies.roles", name), c.Policies.Roles[name])
	}
	s.bindings()
	for _, f := range c.Policies.Files {
		list, _ := parse(f)
		for _, p := range list {
			node := toAST(p)
			for _, cond := range node.Conditions {
				ast.Inspect(ast.NewNode(cond.Body), func(n ast.IsNode) bool { s.node(nameOf(node), n); return true })
			}
		}
	}
	return s.found
}

type suspects struct {
	config *v1.Config
	found  []string
}

func (s *suspects) warn(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); len(s.found) < suspectsMost && !slices.Contains(s.found, text) {
		s.found = append(s.found, text)
	}
}

func (s *suspects) role(path string, r v1.Role) {
	for _, list := range [...]struct {
		key  string
		have []string
	}{{"allow", r.Allow}, {"deny", r.Deny}, {"prompts", r.Prompts}} {
		for i, p := range list.have {
			if !s.fits(p) {
				s.warn("%s.%s[%d]: %q fits nothing; names at /mcp begin with that of their server: %s", path, list.key, i, p, strings.Join(prefixes(s.config), ", "))
			}
		}
	}
}

// fits tells whether a name at /mcp, or a pattern, can be of some server.
func (s *suspects) fits(name string) bool {
	if v1.IsPattern(name) {
		for server := range s.config.MCPServers {
			if v1.LikeBehind(name, s.config.PrefixOf(server)) {
				return true
			}
		}
		return false
	}
	_, own := s.config.OwnerOf(name)
	return own != ""
}

// bindings looks for groups, which callers have only where something says whence.
func (s *suspects) bindings() {
	a := &s.config.Auth
	whence := len(a.Issuers) == 0 || a.TrustedProxy != nil && a.TrustedProxy.Groups != "" ||
		a.ClientCertificates != nil && a.ClientCertificates.GroupsFrom != "" ||
		slices.ContainsFunc(a.Issuers, func(i v1.Issuer) bool { return i.Claims.Groups != "" }) ||
		slices.ContainsFunc(a.APIKeys, func(k v1.APIKey) bool { return len(k.Groups) > 0 })
	for i := range s.config.Policies.Bindings {
		if b := &s.config.Policies.Bindings[i]; b.Group != "" && !whence {
			s.warn("policies.bindings[%d].group: tokens have no groups, since no entry of auth.issuers has claims.groups: only managed keys can be in %q", i, b.Group)
		}
	}
}

// node looks at comparisons with a text that stands for something of which all is known.
func (s *suspects) node(where string, n ast.IsNode) {
	var of ast.IsNode
	var text string
	switch t := n.(type) {
	case ast.NodeTypeEquals:
		of, text = compared(t.Left, t.Right)
	case ast.NodeTypeNotEquals:
		of, text = compared(t.Left, t.Right)
	case ast.NodeTypeContains:
		of, text = compared(t.Left, t.Right)
	default:
		return
	}
	access, ok := of.(ast.NodeTypeAccess)
	if !ok {
		return
	}
	what := string(access.Value)
	switch {
	case isVariable(access.Arg, "principal"):
		s.principal(where, what, text)
	case isVariable(access.Arg, "resource"):
		s.resource(where, what, text)
	}
}

func (s *suspects) principal(where, what, text string) {
	switch what {
	case "roles":
		if !s.config.Policies.HasRole(text) {
			s.warn("%s: there is no role %q in policies.roles", where, text)
		}
	case "method":
		if !slices.Contains(methods, identity.Method(text)) {
			s.warn("%s: principal.method is never %q; there are: %s", where, text, joined(methods))
		}
	case "issuer":
		names := issuersOf(s.config)
		if text != "" && !slices.Contains(names, text) {
			s.warn("%s: principal.issuer is never %q; the names of auth.issuers are: %s", where, text, strings.Join(names, ", "))
		}
	}
}

func (s *suspects) resource(where, what, text string) {
	switch what {
	case "server":
		if s.config.MCPServers[text] == nil {
			s.warn("%s: there is no server %q in mcpServers", where, text)
		}
	case "toolset":
		if text != "" && s.config.Toolsets[text] == nil {
			s.warn("%s: there is no toolset %q in toolsets", where, text)
		}
	case "shown":
		if !s.fits(text) && !strings.Contains(text, ":") { // a URI is shown as it is
			s.warn("%s: resource.shown is never %q; names at /mcp begin with that of their server: %s", where, text, strings.Join(prefixes(s.config), ", "))
		}
	}
}

// compared is what a text is compared with, and the text; nil where none is.
func compared(a, b ast.IsNode) (of ast.IsNode, text string) {
	for _, pair := range [...][2]ast.IsNode{{a, b}, {b, a}} {
		if v, ok := pair[1].(ast.NodeValue); ok {
			if s, ok := v.Value.(cedar.String); ok {
				return pair[0], string(s)
			}
		}
	}
	return nil, ""
}
