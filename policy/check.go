package policy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
	"github.com/cedar-policy/cedar-go/x/exp/eval"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// checker finds what Cedar policies ask for that there is not.
type checker struct {
	config *v1.Config
	roles  *v1.Policies
	labels []string
	types  *validate.Validator

	problems []string
}

func newChecker(c *v1.Config, p *v1.Policies) (*checker, error) {
	types, err := validator(c)
	if err != nil {
		return nil, fmt.Errorf("labels of servers cannot be part of policies: %w", err)
	}
	return &checker{config: c, roles: p, labels: labelsOf(c), types: types}, nil
}

// The names that policies may use.
var (
	entityTypes = []string{"User", "Group", "Role", "Tenant", "Server", "Toolset", "Tool", "Prompt", "Resource", "Management"}
	actionNames = []string{"call", "get", "read", "use", "manage"}

	principalNames = []string{"subject", "tenant", "groups", "roles", "scopes", "issuer", "client", "method", "attributes"}
	objectNames    = []string{"server", "toolset", "name", "shown", "labels", "readOnly", "destructive", "idempotent", "openWorld", "winding"}
	manageNames    = []string{"area", "access"}
	contextNames   = []string{"args", "numbers", "time", "client", "address"}
	timeNames      = []string{"now", "epoch", "year", "month", "day", "weekday", "hour", "minute", "date"}
	clientNames    = []string{"name", "version"}
)

func (k *checker) fail(format string, args ...any) {
	if text := fmt.Sprintf(format, args...); !slices.Contains(k.problems, text) {
		k.problems = append(k.problems, text)
	}
}

// policy returns what is wrong with a policy.
func (k *checker) policy(p *cedar.Policy) (problems Problems) {
	k.problems = nil
	node := toAST(p)
	for _, scope := range []ast.IsScopeNode{node.Principal, node.Action, node.Resource} {
		k.scope(scope)
	}
	for _, c := range node.Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool { k.node(n); return true })
	}
	if len(k.problems) == 0 {
		k.check(node)
	}
	for _, text := range k.problems {
		problems = append(problems, Problem{node.Position.Filename, node.Position.Line, text})
	}
	return problems
}

// check has the types checked, but for conditions with arguments or attributes of the principal, of which nobody knows
// the types.
func (k *checker) check(p *ast.Policy) {
	known := *p
	known.Conditions, known.Action = nil, actionScope(p)
	for _, n := range conjuncts(p) {
		if needsOf(n)&needArguments == 0 && !asksAttributes(n) {
			known.When(ast.NewNode(n))
		}
	}
	if err := k.types.Policy("", &known); err != nil {
		for _, line := range slices.Sorted(strings.SplitSeq(err.Error(), "\n")) {
			k.fail("%s", line)
		}
	}
}

func asksAttributes(n ast.IsNode) (asks bool) {
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		t, ok := n.(ast.NodeTypeAccess)
		asks = asks || ok && t.Value == "attributes" && isVariable(t.Arg, "principal")
		return !asks
	})
	return asks
}

func (k *checker) scope(scope ast.IsScopeNode) {
	switch t := scope.(type) {
	case ast.ScopeTypeEq:
		k.entity(t.Entity)
	case ast.ScopeTypeIn:
		k.entity(t.Entity)
	case ast.ScopeTypeInSet:
		for _, uid := range t.Entities {
			k.entity(uid)
		}
		if len(t.Entities) == 0 {
			k.fail("is about no action: action in [] never holds")
		}
	case ast.ScopeTypeIs:
		k.typed(t.Type)
	case ast.ScopeTypeIsIn:
		k.typed(t.Type)
		k.entity(t.Entity)
	default: // all
	}
}

func (k *checker) typed(t types.EntityType) {
	if !slices.Contains(entityTypes, string(t)) {
		k.fail("there is no entity type %s; there are: %s", t, strings.Join(entityTypes, ", "))
	}
}

// entity checks an entity that a policy names.
func (k *checker) entity(uid types.EntityUID) {
	id := string(uid.ID)
	switch uid.Type {
	case "Action":
		if !slices.Contains(actionNames, id) {
			k.fail("there is no action %q; there are: %s", id, strings.Join(actionNames, ", "))
		}
	case "Role":
		if !k.roles.HasRole(id) {
			k.fail("there is no role %q in policies.roles", id)
		}
	case "User":
		if id != "" && id != identity.Anonymous.Key() && !strings.Contains(id, "/") {
			k.fail("%s is nobody: write User::\"TENANT/SUBJECT\", for tokens with /ISSUER behind", uid)
		}
	case "Server":
		k.server(uid, id)
	case "Toolset":
		if k.config.Toolsets[id] == nil {
			k.fail("there is no toolset %q in toolsets", id)
		}
	case "Tool", "Prompt", "Resource":
		server, _, ok := strings.Cut(id, "/")
		if !ok {
			k.fail("%s is none: write %s::\"SERVER/NAME\", with the name that it has at its server", uid, uid.Type)
			return
		}
		k.server(uid, server)
	case "Management":
		if !slices.Contains(v1.ManageActions(), id) {
			k.fail("there is no %s; there are: %s", uid, strings.Join(v1.ManageActions(), ", "))
		}
	case "Null", "Number": // what arguments may be
	default:
		k.typed(uid.Type)
	}
}

func (k *checker) server(uid types.EntityUID, name string) {
	if k.config.MCPServers[name] == nil {
		k.fail("%s: there is no server %q in mcpServers", uid, name)
	}
}

// node checks one node of a condition.
func (k *checker) node(n ast.IsNode) {
	switch t := n.(type) {
	case ast.NodeValue:
		k.value(t.Value)
	case ast.NodeTypeIs:
		k.typed(t.EntityType)
	case ast.NodeTypeIsIn:
		k.typed(t.EntityType)
	case ast.NodeTypeAccess:
		k.attribute(t.Arg, string(t.Value))
	case ast.NodeTypeHas:
		k.attribute(t.Arg, string(t.Value))
		if isVariable(t.Arg, "context") && t.Value != "address" {
			k.fail("asks whether context has %s, which it always has; ask for what is in it: context.%s has NAME", t.Value, t.Value)
		}
	case ast.NodeTypeGetTag, ast.NodeTypeHasTag:
		k.fail("asks for a tag; nothing has tags, ask for an attribute")
	case ast.NodeTypeExtensionCall:
		k.call(t)
	default: // names nothing
	}
}

func (k *checker) value(v types.Value) {
	switch v := v.(type) {
	case types.EntityUID:
		k.entity(v)
	case types.Set:
		for e := range v.All() {
			k.value(e)
		}
	}
}

// call evaluates a call whose arguments are all in the policy.
func (k *checker) call(n ast.NodeTypeExtensionCall) {
	for _, arg := range n.Args {
		if needsOf(arg) != 0 {
			return
		}
	}
	if _, err := eval.Eval(n, eval.Env{}); err != nil {
		k.fail("can never be evaluated: %v", err)
	}
}

// attribute checks the name of an attribute that is asked for.
func (k *checker) attribute(of ast.IsNode, name string) {
	known, what := k.known(of)
	if known != nil && !slices.Contains(known, name) {
		k.fail("%s has no attribute %q; there are: %s", what, name, cmp.Or(strings.Join(known, ", "), "none"))
	}
}

// known returns the attributes that a node can have; nil where any may be.
func (k *checker) known(n ast.IsNode) (names []string, what string) {
	switch t := n.(type) {
	case ast.NodeTypeVariable:
		switch t.Name {
		case "principal":
			return principalNames, "principal"
		case "resource":
			return append(slices.Clone(objectNames), manageNames...), "resource"
		case "context":
			return contextNames, "context"
		case "action":
			return []string{}, "action"
		}
	case ast.NodeTypeAccess:
		switch path := string(t.Value); {
		case isVariable(t.Arg, "context") && path == "time":
			return timeNames, "context.time"
		case isVariable(t.Arg, "context") && path == "client":
			return clientNames, "context.client"
		case isVariable(t.Arg, "resource") && path == "labels":
			return append([]string{}, k.labels...), "resource.labels, of what labels servers have,"
		}
	default:
	}
	return nil, ""
}

// comparedMost bounds how many policies are compared with each other.
const comparedMost = 1000

// contradictions warns of permits that never permit, because a forbid covers each.
func contradictions(c *v1.Config, p *v1.Policies, s *Set) (warnings []string) {
	for _, p := range s.cedar {
		if !p.permit || len(s.cedar) > comparedMost {
			continue
		}
		for _, f := range s.cedar {
			if !f.permit && covers(f, p) {
				warnings = append(warnings, fmt.Sprintf("%s: never permits anything, because %s forbids all of it", p.name, f.name))
				break
			}
		}
	}
	for _, r := range s.roles {
		warnings = append(warnings, r.denied()...)
	}
	return append(warnings, s.mootRoles(c, p)...)
}

// covers tells whether a policy applies wherever another does.
func covers(wide, narrow *rule) bool {
	if !scopeCovers(wide.about.Principal, narrow.about.Principal) || !scopeCovers(wide.about.Resource, narrow.about.Resource) ||
		!actionsCover(wide.about.Action, narrow.about.Action) {
		return false
	}
	have := conjuncts(toAST(narrow.source))
	for _, n := range conjuncts(toAST(wide.source)) {
		if !slices.ContainsFunc(have, func(h ast.IsNode) bool { return ast.Equal(ast.NewNode(n), ast.NewNode(h)) }) {
			return false
		}
	}
	return true
}

func scopeCovers(wide, narrow ast.IsScopeNode) bool {
	if _, all := wide.(ast.ScopeTypeAll); all {
		return true
	}
	var kind types.EntityType
	var in, eq types.EntityUID
	switch t := narrow.(type) {
	case ast.ScopeTypeEq:
		kind, eq = t.Entity.Type, t.Entity
	case ast.ScopeTypeIn:
		in = t.Entity
	case ast.ScopeTypeIs:
		kind = t.Type
	case ast.ScopeTypeIsIn:
		kind, in = t.Type, t.Entity
	default: // all, or actions
	}
	if server, _, ok := strings.Cut(string(eq.ID), "/"); ok && kind != "User" {
		in = types.NewEntityUID("Server", types.String(server))
	}
	switch w := wide.(type) {
	case ast.ScopeTypeEq:
		return w.Entity == eq
	case ast.ScopeTypeIn:
		return w.Entity == in || w.Entity == eq
	case ast.ScopeTypeIs:
		return w.Type == kind
	case ast.ScopeTypeIsIn:
		return w.Type == kind && (w.Entity == in || w.Entity == eq)
	default: // actions
	}
	return false
}

func actionsCover(wide, narrow ast.IsActionScopeNode) bool {
	has := actionsOf(wide)
	for a := range actionsOf(narrow) {
		if !has[a] {
			return false
		}
	}
	return true
}

// actionsOf are the actions that a scope takes in.
func actionsOf(scope ast.IsActionScopeNode) map[string]bool {
	all := map[string]bool{}
	add := func(uid types.EntityUID) {
		if uid == actionUse {
			maps.Copy(all, map[string]bool{"call": true, "get": true, "read": true})
		} else {
			all[string(uid.ID)] = true
		}
	}
	switch t := scope.(type) {
	case ast.ScopeTypeEq:
		add(t.Entity)
	case ast.ScopeTypeIn:
		add(t.Entity)
	case ast.ScopeTypeInSet:
		for _, uid := range t.Entities {
			add(uid)
		}
	default: // none is left open
	}
	return all
}
