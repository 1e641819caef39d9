package policy

import (
	"maps"
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// verdict is what is decided about a class of objects for a view.
type verdict struct {
	// needs are the facts of a call that decide; 0 where none do.
	needs needs
	// decision counts where none do, listed for a list where only arguments do.
	decision, listed Decision
	// forbids and permits are the policies whose conditions of a call decide; where none does, so does otherwise.
	forbids, permits []*rule
	otherwise        Decision
	want             wanted
	// plain tells that flat arguments alone decide.
	plain bool
}

// settled is a verdict for which nothing of a call is asked.
func settled(d Decision) *verdict { return &verdict{decision: d, listed: d} }

// decide decides about a class of objects, as far as that can be without a call. Object is one of the class.
func (v *View) decide(c *class, o *Object) *verdict {
	s := v.set
	switch n := len(s.roles); {
	case !s.visible(o, v.tenant):
		return settled(Decision{Rule: ruleTenant})
	case !s.enforced:
		return settled(Decision{Allowed: true, Rule: ruleOpen})
	default:
		if i := common(v.fits, c.fits, n, 2*n); i >= 0 {
			return settled(Decision{Rule: v.nameRole(i - n)})
		}
	}
	d := &verdict{otherwise: v.stepUp(c)}
	if i := common(v.fits, c.fits, 0, len(s.roles)); i >= 0 {
		d.otherwise = Decision{Allowed: true, Rule: v.nameRole(i)}
	}
	return v.weigh(d, c, o)
}

func (v *View) nameRole(role int) string {
	for _, h := range v.held {
		if h.role == role {
			return v.set.nameHeld(h)
		}
	}
	return ""
}

// stepUp is the decision where nothing permits an object: perhaps a role would that is held with further scopes.
func (v *View) stepUp(c *class) Decision {
	for _, h := range v.lacking {
		if c.fits.has(h.role) && !c.fits.has(len(v.set.roles)+h.role) {
			return Decision{Rule: v.set.nameHeld(h) + " with further scopes", Scopes: h.via.Scopes}
		}
	}
	return Decision{Rule: ruleNone}
}

// weigh has the Cedar policies decide that roles leave open.
func (v *View) weigh(d *verdict, c *class, o *Object) *verdict {
	view := &scene{principal: v.entity, resource: c.entity, action: actionOf(o.Kind)}
	first := 2 * len(v.set.roles)
	for i := common(v.fits, c.fits, first, v.set.count()); i >= 0; i = common(v.fits, c.fits, i+1, v.set.count()) {
		r := v.set.cedar[i-first]
		switch applies := r.before(view, v.unsure.has(i) || c.unsure.has(i)); {
		case applies == fails:
		case r.permit && applies == holds:
			if !d.otherwise.Allowed {
				d.otherwise = Decision{Allowed: true, Rule: r.name}
			}
		case r.permit:
			d.permits = append(d.permits, r)
		case applies == anything:
			d.forbids = append(d.forbids, r)
		default:
			return settled(Decision{Rule: r.decider(applies)})
		}
	}
	return d.finish()
}

// finish keeps of a verdict what can still decide.
func (d *verdict) finish() *verdict {
	if d.otherwise.Allowed {
		d.permits = nil
	} else if len(d.permits) == 0 {
		d.forbids = nil
	}
	d.decision, d.listed = d.otherwise, d.otherwise
	if len(d.permits) > 0 {
		d.listed = Decision{Allowed: true, Rule: d.permits[0].name}
	}
	d.plain = true
	for _, list := range [...][]*rule{d.forbids, d.permits} {
		for _, r := range list {
			d.needs |= r.needs & needCall
			d.want.merge(&r.want)
			d.plain = d.plain && r.plain != nil
		}
	}
	if d.plain = d.plain && !d.want.all; d.plain {
		d.want.sorted = slices.Sorted(maps.Keys(d.want.exact))
	}
	return d
}

// decider names the rule as what decided, although it perhaps could not be evaluated.
func (r *rule) decider(o outcomes) string {
	if o&errs != 0 {
		return r.name + ruleUnsure
	}
	return r.name
}

// before tells what a policy comes to before anything is known of a call: it holds (applies), fails (does not), cannot
// be evaluated, or anything. Whoever asks knows that its scope fits and no condition about one side alone fails.
//
// A forbid that cannot be evaluated applies, and a permit that cannot be does not. The conditions that ask for nothing
// of a call come first: where one of them does not hold, it does not matter that another cannot be evaluated.
func (r *rule) before(s *scene, unsure bool) outcomes {
	switch out := static(r.both, s); {
	case out == fails:
		return fails
	case out == errs || unsure:
		return r.error()
	}
	e := &estimate{scene: s, known: func(n ast.IsNode) bool { return needsOf(n)&needCall == 0 }}
	return r.estimate(e)
}

// error is what a policy comes to that cannot be evaluated.
func (r *rule) error() outcomes {
	if r.permit {
		return fails
	}
	return errs
}

// estimate tells what the conditions of a call may come to, in their order.
func (r *rule) estimate(e *estimate) outcomes {
	all := holds
	for _, c := range r.call {
		if all&holds == 0 {
			break
		}
		all = all&^holds | e.node(c.node)
	}
	switch {
	case all == holds || all == fails:
		return all
	case r.permit && all&holds == 0:
		return fails
	case !r.permit && all&fails == 0:
		return errs
	}
	return anything
}

// dynamic decides with the facts of a call.
func (v *View) dynamic(d *verdict, c *class, kind Kind, f *Facts) Decision {
	if d.plain && kind != KindResource {
		a := flats.Get().(*flat)
		defer a.free()
		if a.read(f.Args, &d.want) {
			return d.by(a)
		}
	}
	return d.decide(&scene{principal: v.entity, resource: c.entity, action: actionOf(kind)}, kind, f)
}

// decide evaluates the policies that are left.
func (d *verdict) decide(s *scene, kind Kind, f *Facts) Decision {
	return d.by(newTrial(s, kind, f, &d.want, d.needs))
}

// by decides by what the policies that are left come to.
func (d *verdict) by(t interface{ of(r *rule) outcomes }) Decision {
	for _, r := range d.forbids {
		if o := t.of(r); o&(holds|errs) != 0 && o&fails == 0 {
			return Decision{Rule: r.decider(o)}
		}
	}
	if d.otherwise.Allowed {
		return d.otherwise
	}
	for _, r := range d.permits {
		if t.of(r)&holds != 0 {
			return Decision{Allowed: true, Rule: r.name}
		}
	}
	return d.otherwise
}

// trial evaluates policies with the facts of a call.
type trial struct {
	scene   *scene
	unknown bool  // the arguments are not known
	err     error // why they cannot be read
}

func newTrial(s *scene, kind Kind, f *Facts, want *wanted, need needs) *trial {
	t := &trial{scene: s, unknown: f.Args == nil && kind != KindResource}
	args, numbers := types.Value(cedar.Record{}), types.Value(cedar.Record{})
	if need&needArguments != 0 && kind != KindResource && !t.unknown {
		args, numbers, t.err = arguments(f.Args, want, need&needNumbers != 0)
	}
	if t.unknown || t.err != nil {
		args, numbers = nil, nil
	}
	s.context = f.context(need, args, numbers)
	return t
}

// of tells what the conditions of a call come to; of a list, what they may come to.
func (t *trial) of(r *rule) outcomes {
	switch {
	case r.dynamic == nil:
		return holds
	case r.needs&needArguments != 0 && t.unknown:
		return r.estimate(t.estimate())
	}
	o, _ := evaluate(r.dynamic, t.scene) // arguments that cannot be read are not there: to ask for them errs
	return o
}

// estimate looks at conditions while the arguments are not known.
func (t *trial) estimate() *estimate {
	return &estimate{scene: t.scene, known: func(n ast.IsNode) bool { return needsOf(n)&needArguments == 0 }}
}

// merge is what several policies look at.
func (w *wanted) merge(other *wanted) {
	w.all = w.all || other.all
	for name := range other.names {
		w.add(name)
	}
	for name := range other.exact {
		w.see(name)
	}
}

// MayManage is Manages with the facts of a call, for which policies may ask.
func (v *View) MayManage(what string, f *Facts) Decision {
	if v.anonymous {
		return Decision{Rule: ruleNobody}
	}
	entity := managementEntity(what)
	s := &scene{principal: v.entity, resource: entity, action: actionManage}
	d := &verdict{otherwise: Decision{Rule: ruleNone}}
	for _, h := range v.held {
		if v.set.roles[h.role].manages(what) {
			d.otherwise = Decision{Allowed: true, Rule: v.set.nameHeld(h)}
			break
		}
	}
	for j, r := range v.set.cedar {
		i := 2*len(v.set.roles) + j
		if !v.fits.has(i) || !concerns(r.about.Action, &cedar.Entity{UID: actionManage}) || !concerns(r.about.Resource, entity) {
			continue
		}
		out := static(r.what, s)
		if out == fails {
			continue
		}
		switch applies := r.before(s, out == errs || v.unsure.has(i)); {
		case applies == fails:
		case r.permit:
			d.permits = append(d.permits, r)
		case applies == anything:
			d.forbids = append(d.forbids, r)
		default:
			return Decision{Rule: r.decider(applies)}
		}
	}
	for _, list := range [...][]*rule{d.forbids, d.permits} {
		for _, r := range list {
			d.needs |= r.needs
		}
	}
	return d.decide(s, KindResource, f)
}
