package policy

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// sight is what Sees is asked for, labels aside.
type sight struct {
	kind                    Kind
	server, toolset, prefix string
}

// Sees tells whether some policy could permit something of the object's kind, server, toolset and labels whose name at
// /mcp begins with Shown, whatever its name, its hints and the facts. It is never false where May could permit or a
// list could show it.
func (v *View) Sees(o *Object) bool {
	key := sight{o.Kind, o.Server, o.Toolset, o.Shown}
	v.seeing.RLock()
	sees, ok := v.seen[key]
	v.seeing.RUnlock()
	if ok {
		return sees
	}
	sees = v.sees(o)
	v.seeing.Lock()
	defer v.seeing.Unlock()
	if len(v.seen) >= verdictsMost {
		clear(v.seen)
	}
	v.seen[key] = sees
	return sees
}

func (v *View) sees(o *Object) bool {
	if !v.set.visible(o, v.tenant) {
		return false
	}
	reach := func(h held) bool { return v.set.roles[h.role].reaches(o) }
	if !v.set.enforced {
		return true
	}
	permitted := slices.ContainsFunc(v.held, reach) || slices.ContainsFunc(v.lacking, reach)
	kinds := []Kind{o.Kind}
	if o.Kind == KindAny {
		kinds = []Kind{KindTool, KindPrompt, KindResource}
	}
	return slices.ContainsFunc(kinds, func(k Kind) bool { return v.seesKind(o, k, permitted) })
}

// seesKind asks the Cedar policies about objects of one kind.
func (v *View) seesKind(o *Object, k Kind, permitted bool) bool {
	one := &Object{Kind: k, Server: o.Server, Toolset: o.Toolset, Labels: o.Labels}
	view := &scene{principal: v.entity, resource: objectEntity(one), action: actionOf(k)}
	for j, r := range v.set.cedar {
		if !v.fits.has(2*len(v.set.roles) + j) {
			continue
		}
		switch o := r.glance(view); {
		case r.permit && o&holds != 0:
			permitted = true
		case !r.permit && o&fails == 0:
			return false
		}
	}
	return permitted
}

// glance tells what a policy may come to for objects of which only kind, server, toolset and labels are known.
func (r *rule) glance(s *scene) outcomes {
	act, _ := s.Get(s.action)
	if !concerns(r.about.Action, &act) {
		return fails
	}
	all := glanceScope(r.about.Resource, s.resource)
	e := &estimate{scene: s, known: knownAtAGlance}
	for _, list := range [...][]cond{r.what, r.both, r.call} {
		for _, c := range list {
			o := e.node(c.node)
			if o == fails {
				return fails
			}
			all = all&o&holds | (all|o)&(fails|errs)
		}
	}
	return all
}

func glanceScope(scope ast.IsScopeNode, e *cedar.Entity) outcomes {
	switch t := scope.(type) {
	case ast.ScopeTypeEq:
		return glanceEntity(t.Entity, e)
	case ast.ScopeTypeIn:
		if t.Entity.Type == e.UID.Type {
			return glanceEntity(t.Entity, e)
		}
	case ast.ScopeTypeIsIn:
		if t.Type == e.UID.Type && t.Entity.Type == e.UID.Type {
			return glanceEntity(t.Entity, e)
		}
	default:
	}
	if concerns(scope, e) {
		return holds
	}
	return fails
}

// glanceEntity tells whether an object whose name is not known is a certain one.
func glanceEntity(uid cedar.EntityUID, e *cedar.Entity) outcomes {
	if prefix := string(e.UID.ID); uid.Type == e.UID.Type && len(uid.ID) >= len(prefix) && string(uid.ID[:len(prefix)]) == prefix {
		return holds | fails
	}
	return fails
}

// glanced are the attributes of objects that are known without their names.
var glanced = map[string]bool{"server": true, "toolset": true, "labels": true}

// knownAtAGlance tells whether a condition asks for nothing of the object but those, and for nothing of a call.
func knownAtAGlance(n ast.IsNode) bool {
	known := true
	ast.Inspect(ast.NewNode(n), func(n ast.IsNode) bool {
		switch t := n.(type) {
		case ast.NodeTypeAccess:
			if isVariable(t.Arg, "resource") {
				known = known && glanced[string(t.Value)]
				return false
			}
		case ast.NodeTypeIs:
			if isVariable(t.Left, "resource") {
				return false
			}
		case ast.NodeTypeIn:
			if v, ok := t.Right.(ast.NodeValue); ok && isVariable(t.Left, "resource") && groupOfObjects(v) {
				return false
			}
		case ast.NodeTypeVariable:
			known = known && t.Name != "resource" && t.Name != "context"
		default:
		}
		return known
	})
	return known
}

func groupOfObjects(v ast.NodeValue) bool {
	uid, ok := v.Value.(cedar.EntityUID)
	return ok && (uid.Type == "Server" || uid.Type == "Toolset")
}

// Roles are the names of the roles that the principal has, by bindings too.
func (v *View) Roles() []string {
	names := map[string]bool{}
	for _, h := range v.held {
		names[v.set.roles[h.role].name] = true
	}
	return slices.Sorted(maps.Keys(names))
}
