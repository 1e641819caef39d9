package v1

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// The bounds of policies.
const (
	MaxRoles       = 10_000
	MaxBindings    = 100_000
	maxPolicyFiles = 1000
	maxPolicyBytes = 16 << 20 // of all files together
)

// PolicyFile is a file with Cedar policies, as it was read.
type PolicyFile struct {
	// Name is the file, relative to the folder of the configuration where the
	// configuration has it so.
	Name string
	// Text is what it holds.
	Text string
}

// ManageActions are what may be done at the management interface.
func ManageActions() []string {
	areas := []string{"keys", "audit", "policy", "servers", "definitions", "cache", "limits", "log", "profiles", "timings"}
	all := make([]string, 0, 2*len(areas))
	for _, area := range areas {
		all = append(all, area+":read", area+":write")
	}
	return all
}

// BuiltinRoles are the roles that every configuration has.
func BuiltinRoles() map[string]Role {
	all := []string{"*"}
	return map[string]Role{
		"user":    {Allow: all, Prompts: all, Resources: all},
		"reader":  {Allow: all, Prompts: all, Resources: all, ReadOnly: true},
		"auditor": {Manage: []string{"audit:read", "servers:read"}},
		"admin":   {Allow: all, Prompts: all, Resources: all, Manage: all},
	}
}

// Any reports whether there are policies. An empty list is one that permits
// nothing.
func (p *Policies) Any() bool { return p.Roles != nil || p.Bindings != nil || p.Cedar != nil }

// HasRole reports whether a role is built in or defined.
func (p *Policies) HasRole(name string) bool {
	_, defined := p.Roles[name]
	_, builtin := BuiltinRoles()[name]
	return defined || builtin
}

// policies checks roles and bindings.
func (k *checker) policies(c *Config) {
	k.policiesOf(c, &c.Policies, "policies.")
	for i, key := range c.Auth.APIKeys {
		for j, role := range key.Roles {
			if !c.Policies.HasRole(role) {
				k.fail(fmt.Sprintf("auth.apiKeys[%d].roles[%d]", i, j), "%s", noRole(&c.Policies, role))
			}
		}
	}
}

func (k *checker) policiesOf(c *Config, p *Policies, at string) {
	if n := len(p.Roles); n > MaxRoles {
		k.fail(at+"roles", "has %d roles; at most %d are allowed", n, MaxRoles)
		return
	}
	if n := len(p.Bindings); n > MaxBindings {
		k.fail(at+"bindings", "has %d bindings; at most %d are allowed", n, MaxBindings)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.Roles)) {
		path := childPath(at+"roles", name)
		k.label(path, name)
		if _, builtin := BuiltinRoles()[name]; builtin {
			k.fail(path, "is built in; give the role another name")
		} else if name == "" {
			k.fail(path, "has no name; give the role one")
		}
		role := p.Roles[name]
		k.role(c, path, &role)
	}
	issuers := issuerNames(c)
	for i := range p.Bindings {
		k.binding(p, at+"bindings["+strconv.Itoa(i)+"]", &p.Bindings[i], issuers)
	}
}

func (k *checker) role(c *Config, path string, r *Role) {
	for _, list := range [...]struct {
		key  string
		have []string
	}{{"allow", r.Allow}, {"deny", r.Deny}, {"prompts", r.Prompts}, {"resources", r.Resources}} {
		for i, p := range list.have {
			if p == "" {
				k.fail(fmt.Sprintf("%s.%s[%d]", path, list.key, i), "is empty; write a name or a pattern, or * for all")
			}
		}
	}
	for i, name := range r.Servers {
		if c.MCPServers[name] == nil {
			k.fail(fmt.Sprintf("%s.servers[%d]", path, i), "there is no server %q in mcpServers", clip(name))
		}
	}
	for i, name := range r.Toolsets {
		if c.Toolsets[name] == nil {
			k.fail(fmt.Sprintf("%s.toolsets[%d]", path, i), "there is no toolset %q in toolsets", clip(name))
		}
	}
	for i, p := range r.Manage {
		if !slices.ContainsFunc(ManageActions(), func(a string) bool { return Like(p, a) }) {
			k.fail(fmt.Sprintf("%s.manage[%d]", path, i), "%q is nothing that can be managed; there are: *, %s", clip(p), strings.Join(ManageActions(), ", "))
		}
	}
}

func (k *checker) binding(p *Policies, path string, b *Binding, issuers []string) {
	says := b.Group != "" || b.Subject != "" || b.Tenant != "" || b.Issuer != ""
	switch {
	case b.Role == "":
		k.fail(path+".role", "is missing; name the role that the binding gives")
	case !p.HasRole(b.Role):
		k.fail(path+".role", "%s", noRole(p, b.Role))
	}
	switch {
	case !says && !b.Everyone:
		k.fail(path, "does not say whom it is for; give group, subject, tenant or issuer, or everyone: true")
	case says && b.Everyone:
		k.fail(path+".everyone", "contradicts what else the binding says of the caller; remove one of both")
	case b.Issuer != "" && !slices.Contains(issuers, b.Issuer):
		k.fail(path+".issuer", "%q is the name of no entry of auth.issuers; those are: %s", clip(b.Issuer), cmp.Or(strings.Join(issuers, ", "), "none"))
	}
	for _, f := range [...][2]string{{"group", b.Group}, {"subject", b.Subject}, {"tenant", b.Tenant}} {
		k.label(path+"."+f[0], f[1])
	}
	for i, scope := range b.Scopes {
		if !isScope(scope) {
			k.fail(fmt.Sprintf("%s.scopes[%d]", path, i), "%q is not a scope; scopes are visible ASCII without spaces, quotes and backslashes", clip(scope))
		}
	}
}

// isScope tells whether a text is a scope-token (RFC 6749, section 3.3).
func isScope(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// issuerNames are the names of auth.issuers.
func issuerNames(c *Config) []string {
	names := make([]string, 0, len(c.Auth.Issuers))
	for i := range c.Auth.Issuers {
		names = append(names, c.Auth.Issuers[i].DisplayName())
	}
	return names
}

func noRole(p *Policies, name string) string {
	all := BuiltinRoles()
	maps.Copy(all, p.Roles)
	delete(all, "")
	names := slices.Sorted(maps.Keys(all))
	if len(names) > 20 {
		names = append(names[:20], "…")
	}
	return fmt.Sprintf("there is no role %q; roles are: %s", clip(name), strings.Join(names, ", "))
}

// policyFiles reads the files that policies refer to.
func (d *decoder) policyFiles(c *Config) {
	d.cedarFiles(&c.Policies, func(i int, message string) {
		path := "policies.cedar[" + strconv.Itoa(i) + "]"
		d.fail(d.lineOf(path), path, "%s", message)
	})
	if name := c.Policies.Shadow; name != "" {
		c.Policies.Next = d.shadow(c, name)
	}
}

// cedarFiles reads the Cedar files of policies.
func (d *decoder) cedarFiles(p *Policies, fail func(i int, message string)) {
	seen, size := map[string]bool{}, 0
	for i, entry := range p.Cedar {
		names, err := d.files(entry)
		if err != nil {
			fail(i, err.Error())
			continue
		}
		for _, name := range names {
			if seen[name] {
				continue
			}
			seen[name] = true
			text, err := d.opts.ReadFile(d.near(name))
			size += len(text)
			switch {
			case err != nil:
				fail(i, fmt.Sprintf("needs the file %s, which cannot be read: %v", name, bare(err)))
			case len(text) > maxReference:
				fail(i, fmt.Sprintf("the file %s has more than %d bytes; split it", name, maxReference))
			case len(seen) > maxPolicyFiles || size > maxPolicyBytes:
				fail(i, fmt.Sprintf("there are more than %d files or %d bytes of policies", maxPolicyFiles, maxPolicyBytes))
				return
			default:
				p.Files = append(p.Files, PolicyFile{Name: name, Text: string(text)})
			}
		}
	}
}

// files are those that an entry of policies.cedar names, as it names them.
func (d *decoder) files(entry string) ([]string, error) {
	if !strings.ContainsAny(entry, "*?[") {
		return []string{entry}, nil
	}
	found, err := d.opts.Glob(d.near(entry))
	switch {
	case err != nil:
		return nil, fmt.Errorf("is not a pattern of file names: %w", bare(err))
	case len(found) == 0:
		return nil, errors.New("fits no file; write a pattern that does, or remove the entry")
	}
	if !filepath.IsAbs(entry) && d.opts.Dir != "" {
		for i, name := range found {
			if rel, err := filepath.Rel(d.opts.Dir, name); err == nil {
				found[i] = rel
			}
		}
	}
	slices.Sort(found)
	return found, nil
}

func (d *decoder) near(path string) string {
	if path = d.home(path); d.opts.Dir == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(d.opts.Dir, path)
}

// bare takes the path off an error that is shown next to it.
func bare(err error) error {
	if e, ok := errors.AsType[*fs.PathError](err); ok {
		return e.Err
	}
	return err
}

// shadow reads the policies that decide nothing.
func (d *decoder) shadow(c *Config, name string) *Policies {
	const path = "policies.shadow"
	fail := func(p Problem) {
		at := name
		if p.Line > 0 {
			at += ":" + strconv.Itoa(p.Line)
			p.Line = 0
		}
		d.fail(d.lineOf(path), path, "%s: %s", at, p.String())
	}
	data, err := d.opts.ReadFile(d.near(name))
	if err != nil {
		fail(Problem{Message: "cannot be read: " + bare(err).Error()})
		return nil
	}
	next, problems := d.parsePolicies(c, data)
	for _, p := range problems {
		fail(p)
	}
	return next
}

// parsePolicies reads a file with the keys of policies.
func (d *decoder) parsePolicies(c *Config, data []byte) (*Policies, Problems) {
	root, p := load(data, false)
	if p == nil && empty(root) {
		p = &Problem{Message: "the file is empty: write roles, bindings or cedar into it, or remove policies.shadow"}
	}
	if p != nil {
		return nil, Problems{*p}
	}
	sub := &decoder{opts: d.opts, lines: map[string]int{}, origins: map[string]string{}}
	next := &Policies{}
	sub.value(root, reflect.ValueOf(next).Elem(), "", "")
	sub.cedarFiles(next, func(i int, message string) {
		path := "cedar[" + strconv.Itoa(i) + "]"
		sub.fail(sub.lineOf(path), path, "%s", message)
	})
	if next.Shadow != "" {
		sub.fail(sub.lineOf("shadow"), "shadow", "is only for the policies that decide; remove it")
	}
	k := &checker{}
	k.tags(reflect.ValueOf(next).Elem(), "")
	k.policiesOf(c, next, "")
	sub.validated(k.problems)
	return next, sub.problems.sorted()
}
