package gateway

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// kindOf is what the elements of a list are to policies.
var kindOf = map[mcp.Method]policy.Kind{
	mcp.MethodToolsList: policy.KindTool, mcp.MethodPromptsList: policy.KindPrompt,
	mcp.MethodResourcesList: policy.KindResource, mcp.MethodResourcesTemplatesList: policy.KindResource,
}

// objects are the elements of one listing as policies know them, each made when it is first decided about. An object remembers
// what was decided, so that the same element is the same object as long as its listing is.
type objects struct {
	keys func() map[string]int // of the elements, by key
	mu   sync.Mutex
	all  atomic.Pointer[map[place][]atomic.Pointer[policy.Object]]
}

// place is what besides its definition makes an element what it is to policies.
type place struct {
	prefix, toolset string
	labeled         uint64
}

// placesMost bounds for how many endpoints the objects of a listing are kept.
const placesMost = 256

func newObjects(l *listing) *objects {
	return &objects{keys: sync.OnceValue(func() map[string]int {
		index := make(map[string]int, len(l.items))
		for i := range l.items {
			index[l.items[i].key] = i
		}
		return index
	})}
}

// at are the objects at one place.
func (o *objects) at(p place, n int) []atomic.Pointer[policy.Object] {
	if all := o.all.Load(); all != nil {
		if there, ok := (*all)[p]; ok {
			return there
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	next := map[place][]atomic.Pointer[policy.Object]{}
	if all := o.all.Load(); all != nil && len(*all) < placesMost {
		maps.Copy(next, *all)
	}
	if next[p] == nil {
		next[p] = make([]atomic.Pointer[policy.Object], n)
	}
	o.all.Store(&next)
	return next[p]
}

// object is an element of a server's list as policies know it at an endpoint.
func (e *endpoint) object(m *member, method mcp.Method, l *listing, i int) *policy.Object {
	m = e.member(m.Name) // as it is shown here: that of an instance may have the prefix and labels of an earlier plan
	at := &l.objects.at(place{m.Prefix, e.toolset, m.labeled}, len(l.items))[i]
	if o := at.Load(); o != nil {
		return o
	}
	it := &l.items[i]
	o := e.make(m, kindOf[method], it.key)
	if o.Kind == policy.KindTool {
		o.Hints = hintsOf(it.raw)
	}
	if !at.CompareAndSwap(nil, o) {
		return at.Load()
	}
	return o
}

// make makes an object of a server.
func (e *endpoint) make(m *member, kind policy.Kind, own string) *policy.Object {
	o := &policy.Object{Kind: kind, Server: m.Name, Toolset: e.toolset, Name: own, Shown: own, Labels: m.Spec.Labels}
	if kind != policy.KindResource {
		o.Shown = m.Prefix + own
	}
	return o
}

// hintsOf reads the annotations of a tool. One that is no boolean, or that is there twice, counts as absent.
func hintsOf(tool []byte) policy.Hints {
	annotations := at(tool, "annotations")
	hint := func(name string) *bool {
		switch string(at(annotations, name)) {
		case "true":
			return new(true)
		case "false":
			return new(bool)
		}
		return nil
	}
	return policy.HintsOf(hint("readOnlyHint"), hint("destructiveHint"), hint("idempotentHint"), hint("openWorldHint"))
}

// find is the index of an element by its key; -1 when the list has none.
func (l *listing) find(key []byte) int {
	if l == nil || l.objects == nil {
		return -1
	}
	if i, ok := l.objects.keys()[string(key)]; ok {
		return i
	}
	return -1
}

// sees tells whether a caller may see anything of a kind of a server.
func (e *endpoint) sees(v *policy.View, m *member, kind policy.Kind) bool {
	return v == nil || v.Sees(&e.reach[m.Name][kind])
}

// seen are the servers of an endpoint of which a caller may see something.
func (e *endpoint) seen(v *policy.View) (all members) {
	for _, m := range e.members {
		if e.sees(v, m, policy.KindAny) {
			all = append(all, m)
		}
	}
	return all
}

// seenLists are the lists of an endpoint in which a caller may see something.
func (e *endpoint) seenLists(v *policy.View) (all upstream.Lists) {
	for _, m := range e.members {
		all |= e.listsOf(m.Name) & e.seenOf(v, m)
	}
	return all
}

// seenOf are the lists of a server in which a caller may see something.
func (e *endpoint) seenOf(v *policy.View, m *member) (all upstream.Lists) {
	for method, kind := range kindOf {
		if e.sees(v, m, kind) {
			all |= listsOf[method]
		}
	}
	return all
}

// holds tells whether the endpoint shows an element of a server's list, to whoever may see it.
func (e *endpoint) holds(m *member, method mcp.Method, key string) bool {
	if e.set == nil {
		return true
	}
	switch kindOf[method] {
	case policy.KindTool:
		_, t, why := e.set.Tool(m.Server, key)
		return t != nil && why == ""
	case policy.KindPrompt:
		return e.set.HoldsPrompt(m.Prefix + key)
	}
	return e.set.HoldsResource(key)
}
