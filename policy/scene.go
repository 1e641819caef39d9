package policy

import (
	"encoding/json"
	"math"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"

	"github.com/toolcrib/toolcrib/identity"
)

// The actions of Cedar policies. Use is the group of call, get and read.
var (
	actionUse    = action("use")
	actionCall   = action("call")
	actionGet    = action("get")
	actionRead   = action("read")
	actionManage = action("manage")
)

func action(name string) cedar.EntityUID { return cedar.NewEntityUID("Action", cedar.String(name)) }

// actionOf is what is done with an object of a kind.
func actionOf(k Kind) cedar.EntityUID {
	switch k {
	case KindPrompt:
		return actionGet
	case KindResource:
		return actionRead
	}
	return actionCall
}

// scene is what a Cedar policy is evaluated against.
type scene struct {
	principal, resource *cedar.Entity
	action              cedar.EntityUID
	context             cedar.Record
}

var actionEntity = cedar.Entity{Parents: cedar.NewEntityUIDSet(actionUse)}

// Get finds the principal, the resource or the action.
func (s *scene) Get(uid cedar.EntityUID) (cedar.Entity, bool) {
	switch {
	case s.principal != nil && uid == s.principal.UID:
		return *s.principal, true
	case s.resource != nil && uid == s.resource.UID:
		return *s.resource, true
	case uid == s.action && uid != actionManage:
		e := actionEntity
		e.UID = uid
		return e, true
	}
	return cedar.Entity{}, false
}

func (s *scene) request() cedar.Request {
	return cedar.Request{Principal: s.principal.UID, Action: s.action, Resource: s.resource.UID, Context: s.context}
}

// nobody and nothing stand where a condition asks for neither.
var (
	nobody  = &cedar.Entity{UID: cedar.NewEntityUID("User", "")}
	nothing = &cedar.Entity{UID: cedar.NewEntityUID("Tool", "")}
)

// userID names a principal in policies: by tenant and subject, as bindings do, whatever credential of the gateway's own it comes
// with, and for those of tokens by the issuer too.
func userID(p *identity.Principal) string {
	if p.Method == identity.MethodToken {
		return p.Key()
	}
	id, _, _ := strings.Cut(p.Key(), "//") // what stands in a key is escaped
	return id
}

// principalEntity is a principal as Cedar policies see it. Roles are all that it has, by bindings too.
func principalEntity(p *identity.Principal, roles []string) *cedar.Entity {
	parents := append(make([]cedar.EntityUID, 0, 1+len(p.Groups)+len(roles)), cedar.NewEntityUID("Tenant", cedar.String(p.Tenant)))
	for _, g := range p.Groups {
		parents = append(parents, cedar.NewEntityUID("Group", cedar.String(g)))
	}
	for _, r := range roles {
		parents = append(parents, cedar.NewEntityUID("Role", cedar.String(r)))
	}
	return &cedar.Entity{
		UID:     cedar.NewEntityUID("User", cedar.String(userID(p))),
		Parents: cedar.NewEntityUIDSet(parents...),
		Attributes: cedar.NewRecord(cedar.RecordMap{
			"subject": cedar.String(p.Subject), "tenant": cedar.String(p.Tenant), "issuer": cedar.String(p.Issuer),
			"client": cedar.String(p.Client), "method": cedar.String(p.Method), "groups": texts(p.Groups), "roles": texts(roles),
			"scopes": texts(p.Scopes), "attributes": attributes(p.Attributes),
		}),
	}
}

func texts(all []string) cedar.Set {
	values := make([]cedar.Value, len(all))
	for i, s := range all {
		values[i] = cedar.String(s)
	}
	return cedar.NewSet(values...)
}

func attributes(all map[string]any) cedar.Record {
	m := make(cedar.RecordMap, len(all))
	for name, v := range all {
		m[cedar.String(name)] = attribute(v)
	}
	return cedar.NewRecord(m)
}

// attribute is a fact of a principal as a Cedar value.
func attribute(v any) cedar.Value {
	switch v := v.(type) {
	case string:
		return cedar.String(v)
	case bool:
		return cedar.Boolean(v)
	case int:
		return cedar.Long(v)
	case int64:
		return cedar.Long(v)
	case json.Number:
		return number(string(v), false)
	case float64:
		if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
			return cedar.Long(v)
		}
		return number(strconv.FormatFloat(v, 'g', -1, 64), false)
	case []string:
		return texts(v)
	case []any:
		values := make([]cedar.Value, len(v))
		for i, e := range v {
			values[i] = attribute(e)
		}
		return cedar.NewSet(values...)
	}
	return null
}

// objectEntity is an object as Cedar policies see it.
func objectEntity(o *Object) *cedar.Entity {
	parents := []cedar.EntityUID{cedar.NewEntityUID("Server", cedar.String(o.Server))}
	if o.Toolset != "" {
		parents = append(parents, cedar.NewEntityUID("Toolset", cedar.String(o.Toolset)))
	}
	labels := make(cedar.RecordMap, len(o.Labels))
	for k, v := range o.Labels {
		labels[cedar.String(k)] = cedar.String(v)
	}
	h := hintsOf(o)
	return &cedar.Entity{
		UID:     objectUID(o),
		Parents: cedar.NewEntityUIDSet(parents...),
		Attributes: cedar.NewRecord(cedar.RecordMap{
			"server": cedar.String(o.Server), "toolset": cedar.String(o.Toolset), "name": cedar.String(o.Name), "shown": cedar.String(o.Shown),
			"labels": cedar.NewRecord(labels), "readOnly": cedar.Boolean(h.ReadOnly), "destructive": cedar.Boolean(h.Destructive),
			"idempotent": cedar.Boolean(h.Idempotent), "openWorld": cedar.Boolean(h.OpenWorld),
			"winding": cedar.Boolean(o.Kind == KindResource && winding(o.Name)),
		}),
	}
}

// objectUID names an object: its server and the server's own name for it, with a slash between.
func objectUID(o *Object) cedar.EntityUID {
	return cedar.NewEntityUID(cedar.EntityType(o.Kind.String()), cedar.String(o.Server+"/"+o.Name))
}

// hintsOf returns the hints of an object. To get a prompt and to read a resource changes nothing.
func hintsOf(o *Object) Hints {
	if o.Kind != KindTool {
		return Hints{ReadOnly: true, Idempotent: true}
	}
	h := o.Hints
	h.Destructive = h.Destructive && !h.ReadOnly
	return h
}

// managementEntity is what may be managed, as "keys:write", as Cedar policies see it.
func managementEntity(what string) *cedar.Entity {
	area, access, _ := strings.Cut(what, ":")
	return &cedar.Entity{
		UID:        cedar.NewEntityUID("Management", cedar.String(what)),
		Attributes: cedar.NewRecord(cedar.RecordMap{"area": cedar.String(area), "access": cedar.String(access)}),
	}
}

// facts appends all of an object that policies can ask for to a key.
func (o *Object) facts(key []byte) []byte {
	for _, s := range [...]string{o.Kind.String(), o.Server, o.Toolset, o.Name, o.Shown} {
		key = appendText(key, s)
	}
	names := make([]string, 0, len(o.Labels))
	for name := range o.Labels {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		key = appendText(appendText(key, name), o.Labels[name])
	}
	h := o.Hints
	for i, b := range [...]bool{h.ReadOnly, h.Destructive, h.Idempotent, h.OpenWorld} {
		if b {
			key = append(key, byte('0'+i))
		}
	}
	return key
}

func appendText(key []byte, s string) []byte {
	return append(append(strconv.AppendInt(key, int64(len(s)), 10), ':'), s...)
}

// context is what policies ask for as context.
func (f *Facts) context(need needs, args, numbers types.Value) cedar.Record {
	m := cedar.RecordMap{}
	if need&needTime != 0 {
		m["time"] = timeFacts(f.Now.UTC())
	}
	if need&needClient != 0 {
		m["client"] = cedar.NewRecord(cedar.RecordMap{"name": cedar.String(f.Client), "version": cedar.String(f.ClientVersion)})
	}
	if a := f.Address.Unmap().WithZone(""); need&needAddress != 0 && a.IsValid() {
		m["address"] = types.IPAddr(netip.PrefixFrom(a, a.BitLen()))
	}
	if need&needArgs != 0 && args != nil {
		m["args"] = args
	}
	if need&needNumbers != 0 && numbers != nil {
		m["numbers"] = numbers
	}
	return cedar.NewRecord(m)
}

func timeFacts(now time.Time) cedar.Record {
	return cedar.NewRecord(cedar.RecordMap{
		"now": cedar.NewDatetime(now), "hour": cedar.Long(now.Hour()), "minute": cedar.Long(now.Minute()),
		"weekday": cedar.Long((int(now.Weekday())+6)%7 + 1), "day": cedar.Long(now.Day()), "month": cedar.Long(now.Month()),
		"year": cedar.Long(now.Year()), "date": cedar.String(now.Format(time.DateOnly)), "epoch": cedar.Long(now.Unix()),
	})
}
