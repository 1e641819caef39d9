package gateway

import (
	"sync"
	"sync/atomic"

	"github.com/toolcrib/toolcrib/policy"
)

// The shadow policies decide nothing. Where they would decide otherwise about a request is counted, and logged once for each caller
// and object while the configuration stays.

// shadowsMost bounds what is logged.
const shadowsMost = 1_000

// labels name kinds in metrics and logs.
var labels = [kinds]string{"any", "tool", "prompt", "resource"}

// shadows are the differences that were logged.
type shadows struct {
	said sync.Map
	n    atomic.Int64
}

// decided counts a decision, and has the shadow policies decide too.
func (g *Gateway) decided(x *Exchange, o *policy.Object) {
	d := &x.decision
	g.o.Metrics.Decided(labels[o.Kind], d.Allowed, len(d.Scopes) > 0)
	if shadow := x.world.plan.Policies.Shadow(); shadow != nil {
		g.compare(x, shadow, o, d.Allowed)
	}
}

// foreshadow has the shadow policies decide about a request that nothing decides about yet, as far as the lists last had say what
// it asks for.
func (g *Gateway) foreshadow(x *Exchange) {
	shadow := x.world.plan.Policies.Shadow()
	if shadow == nil || x.member == nil || x.about != nil && x.about.token != nil {
		return
	}
	o := x.at.resource(x.member, string(x.name))
	if kind := x.kind(); kind != policy.KindResource {
		o = x.at.known(x.member, x.who(), kind, string(x.name))
	}
	x.gather()
	g.compare(x, shadow, o, true)
}

// compare notes where the shadow policies would decide otherwise.
func (g *Gateway) compare(x *Exchange, shadow *policy.Set, o *policy.Object, allowed bool) {
	d := may(shadow.View(x.Principal), o, &x.facts)
	if d.Allowed == allowed {
		return
	}
	change, kind := "lost", labels[o.Kind]
	if d.Allowed {
		change = "gained"
	}
	g.o.Metrics.WouldDecide(kind, change)
	s := &x.world.shadows
	if s.n.Load() >= shadowsMost {
		return
	}
	name := o.Shown
	if o.Kind == policy.KindResource {
		name = o.Server // which of its resources is nobody's business
	}
	if _, again := s.said.LoadOrStore([3]string{x.Principal.Key(), kind + " " + name, change}, true); again {
		return
	}
	s.n.Add(1)
	g.o.Log.Info("policies.shadow would decide otherwise", "change", change, "principal", x.Who(), "kind", kind, "name", clipped([]byte(name)),
		"server", o.Server, "toolset", o.Toolset, "method", x.In.Method.String(), "rule", d.Rule)
}
