package policy

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// Who is a principal as people write it, in files of cases and questions.
type Who struct {
	Subject    string         `yaml:"subject" json:"subject,omitempty"`
	Tenant     string         `yaml:"tenant" json:"tenant,omitempty"`
	Groups     []string       `yaml:"groups" json:"groups,omitempty"`
	Roles      []string       `yaml:"roles" json:"roles,omitempty"`
	Scopes     []string       `yaml:"scopes" json:"scopes,omitempty"`
	Attributes map[string]any `yaml:"attributes" json:"attributes,omitempty"`
	Issuer     string         `yaml:"issuer" json:"issuer,omitempty"`
	Client     string         `yaml:"client" json:"client,omitempty"`
	Method     string         `yaml:"method" json:"method,omitempty"`
}

// methods are the ways to be identified.
var methods = []identity.Method{
	identity.MethodAnonymous, identity.MethodAPIKey, identity.MethodToken, identity.MethodCertificate, identity.MethodProxy,
}

// Principal is the principal that is meant. One of a static key of the configuration has what that says.
func (w *Who) Principal(c *v1.Config) (*identity.Principal, error) {
	method := identity.Method(w.Method)
	switch {
	case method == "" && (w.Issuer != "" || len(w.Scopes) > 0 || w.Client != ""):
		method = identity.MethodToken
	case method == "":
		for i := range c.Auth.APIKeys {
			if k := &c.Auth.APIKeys[i]; k.Name == w.Subject && (w.Tenant == "" || w.Tenant == k.Tenant) {
				return w.ofKey(k), nil
			}
		}
		method = identity.MethodAPIKey
		if len(c.Auth.Issuers) > 0 {
			method = identity.MethodToken
		}
	case !slices.Contains(methods, method):
		return nil, fmt.Errorf("there is no method %q; there are: %s", w.Method, joined(methods))
	}
	issuer := w.Issuer
	if issuer == "" && method == identity.MethodToken && len(c.Auth.Issuers) > 0 {
		issuer = c.Auth.Issuers[0].DisplayName()
	}
	return identity.Suppose(identity.Principal{
		Subject: cmp.Or(w.Subject, "somebody"), Tenant: cmp.Or(w.Tenant, "default"), Groups: w.Groups, Roles: w.Roles, Scopes: w.Scopes,
		Attributes: w.Attributes, Issuer: issuer, Client: w.Client, Method: method,
	}), nil
}

// ofKey is the principal of a static key, with what is said of it besides.
func (w *Who) ofKey(k *v1.APIKey) *identity.Principal {
	p := identity.Principal{
		Subject: k.Name, Tenant: cmp.Or(k.Tenant, "default"), Groups: append(slices.Clone(k.Groups), w.Groups...), Roles: append(slices.Clone(k.Roles), w.Roles...),
		Scopes: k.Scopes, Method: identity.MethodAPIKey, Attributes: map[string]any{},
	}
	for name, v := range k.Attributes {
		p.Attributes[name] = v
	}
	maps.Copy(p.Attributes, w.Attributes)
	return identity.Suppose(p)
}

func joined[T ~string](all []T) string {
	texts := make([]string, len(all))
	for i, t := range all {
		texts[i] = string(t)
	}
	return strings.Join(texts, ", ")
}

// Hinted are the hints of a tool as its definition may have them.
type Hinted struct {
	ReadOnly    *bool `yaml:"readOnly" json:"readOnlyHint,omitempty"`
	Destructive *bool `yaml:"destructive" json:"destructiveHint,omitempty"`
	Idempotent  *bool `yaml:"idempotent" json:"idempotentHint,omitempty"`
	OpenWorld   *bool `yaml:"openWorld" json:"openWorldHint,omitempty"`
}

// What is something that may be asked about, as people write it: one of tool, prompt, resource and manage.
type What struct {
	Tool     string `yaml:"tool" json:"tool,omitempty"`
	Prompt   string `yaml:"prompt" json:"prompt,omitempty"`
	Resource string `yaml:"resource" json:"resource,omitempty"`
	Manage   string `yaml:"manage" json:"manage,omitempty"`
	// Server is that of a resource.
	Server  string `yaml:"server" json:"server,omitempty"`
	Toolset string `yaml:"toolset" json:"toolset,omitempty"`
	Hints   Hinted `yaml:"hints" json:"hints,omitzero"`
}

// Object is what is meant, in a configuration; nil for management.
func (w *What) Object(c *v1.Config) (*Object, error) {
	given := 0
	for _, s := range [...]string{w.Tool, w.Prompt, w.Resource, w.Manage} {
		if s != "" {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, fmt.Errorf("say exactly one of tool, prompt, resource and manage")
	case w.Manage != "" && w.Manage != "*" && !slices.Contains(v1.ManageActions(), w.Manage):
		return nil, fmt.Errorf("there is no %q to manage; there are: %s", w.Manage, strings.Join(v1.ManageActions(), ", "))
	case w.Manage != "":
		return nil, nil //nolint:nilnil // management is no object
	case w.Toolset != "" && c.Toolsets[w.Toolset] == nil:
		return nil, fmt.Errorf("there is no toolset %q; there are: %s", w.Toolset, some(slices.Sorted(maps.Keys(c.Toolsets))))
	case w.Resource != "":
		return w.resource(c)
	}
	o := &Object{Kind: KindTool, Shown: cmp.Or(w.Tool, w.Prompt), Toolset: w.Toolset}
	if w.Prompt != "" {
		o.Kind = KindPrompt
	}
	o.Server, o.Name = c.OwnerOf(o.Shown)
	if c.MCPServers[o.Server] == nil {
		return nil, fmt.Errorf("%q is of no server; names at /mcp begin with that of their server: %s", o.Shown, some(prefixes(c)))
	}
	o.Labels = c.MCPServers[o.Server].Labels
	o.Hints = HintsOf(w.Hints.ReadOnly, w.Hints.Destructive, w.Hints.Idempotent, w.Hints.OpenWorld)
	return o, nil
}

func (w *What) resource(c *v1.Config) (*Object, error) {
	server := w.Server
	if names := c.ServerNames(); server == "" && len(names) == 1 {
		server = names[0]
	}
	if c.MCPServers[server] == nil {
		return nil, fmt.Errorf("there is no server %q; name that of the resource: %s", server, some(c.ServerNames()))
	}
	return &Object{
		Kind: KindResource, Server: server, Name: w.Resource, Shown: w.Resource, Toolset: w.Toolset, Labels: c.MCPServers[server].Labels,
	}, nil
}

// someMost is how many names an error lists.
const someMost = 10

// some lists names, as far as one reads them.
func some(names []string) string {
	switch n := len(names) - someMost; {
	case len(names) == 0:
		return "none"
	case n > 0:
		return fmt.Sprintf("%s and %d more", strings.Join(names[:someMost], ", "), n)
	}
	return strings.Join(names, ", ")
}

func prefixes(c *v1.Config) (all []string) {
	for _, name := range c.ServerNames() {
		all = append(all, c.PrefixOf(name))
	}
	return all
}

// Question is a call as people write it.
type Question struct {
	Who
	What
	// Arguments are those of the call, as JSON; empty asks for some arguments.
	Arguments json.RawMessage `json:"arguments,omitempty"`
	// At is the time; left out, it is now. Program, Version and Address are the client's.
	At      time.Time `json:"at,omitzero"`
	Program string    `json:"program,omitempty"`
	Version string    `json:"version,omitempty"`
	Address string    `json:"address,omitempty"`
}

// known refuses what is said of a principal that nobody can have: a slip would be answered as if nobody had said it.
func (s *Set) known(c *v1.Config, w *Who) error {
	for _, role := range w.Roles {
		if !s.HasRole(role) {
			names := make([]string, 0, len(s.roles))
			for _, r := range s.roles {
				names = append(names, r.name)
			}
			return fmt.Errorf("there is no role %q; roles are: %s", role, listed(names))
		}
	}
	if issuers := issuersOf(c); w.Issuer != "" && !slices.Contains(issuers, w.Issuer) {
		return fmt.Errorf("%q is the name of no entry of auth.issuers; those are: %s", w.Issuer, listed(issuers))
	}
	return nil
}

// listed names at most 20.
func listed(names []string) string {
	if len(names) > 20 {
		names = append(slices.Clone(names[:20]), "…")
	}
	return cmp.Or(strings.Join(names, ", "), "none")
}

func issuersOf(c *v1.Config) []string {
	names := make([]string, 0, len(c.Auth.Issuers))
	for i := range c.Auth.Issuers {
		names = append(names, c.Auth.Issuers[i].DisplayName())
	}
	return names
}

// assumed says what of a principal nobody said, where it could be otherwise.
func (w *Who) assumed(c *v1.Config, p *identity.Principal) string {
	if p.Method != identity.MethodToken {
		return ""
	}
	var all []string
	a := &c.Auth
	others := a.APIKeys != nil || a.ClientCertificates != nil || a.TrustedProxy != nil
	if others && w.Method == "" && w.Issuer == "" && len(w.Scopes) == 0 && w.Client == "" {
		all = append(all, "method "+string(p.Method))
	}
	if w.Issuer == "" && len(a.Issuers) > 1 {
		all = append(all, "issuer "+p.Issuer+" of "+listed(issuersOf(c)))
	}
	return strings.Join(all, ", ")
}

// Answer explains the decision about a question.
func (s *Set) Answer(c *v1.Config, q *Question) (*Explanation, error) {
	if err := s.known(c, &q.Who); err != nil {
		return nil, err
	}
	p, err := q.Principal(c)
	if err != nil {
		return nil, err
	}
	e, err := s.answer(c, q, p)
	if err == nil {
		e.Assumed = q.assumed(c, p)
	}
	return e, err
}

func (s *Set) answer(c *v1.Config, q *Question, p *identity.Principal) (*Explanation, error) {
	o, err := q.Object(c)
	if err != nil {
		return nil, err
	}
	f := &Facts{Args: q.Arguments, Now: q.At, Client: q.Program, ClientVersion: q.Version}
	if f.Now.IsZero() {
		f.Now = time.Now()
	}
	if q.Address != "" {
		if f.Address, err = netip.ParseAddr(q.Address); err != nil {
			return nil, fmt.Errorf("%q is not an IP address", q.Address)
		}
	}
	if o == nil {
		return s.explainManage(p, q.Manage, f), nil
	}
	return s.Explain(p, o, f), nil
}

// explainManage explains a decision about management.
func (s *Set) explainManage(p *identity.Principal, what string, f *Facts) *Explanation {
	v := s.View(p)
	d := v.MayManage(what, f)
	return &Explanation{
		Allowed: d.Allowed, Rule: d.Rule, Principal: s.factsOf(p, v), Call: factsOfCall(f), Considered: []Considered{},
		Object: ObjectFacts{Kind: "management", Name: what},
	}
}
