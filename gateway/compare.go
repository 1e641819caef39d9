package gateway

import (
	"slices"

	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
)

// Compare tells who gains and who loses what when one plan follows another: at the endpoints where all is, and at those of toolsets
// that hold it. With unknown nobody said which annotations the tools have.
func Compare(before, after *plan.Plan, all []policy.What, unknown bool) []policy.Change {
	toolsets := []string{""}
	for _, p := range []*plan.Plan{before, after} {
		for _, t := range p.Toolsets {
			if !slices.Contains(toolsets, t.Name) {
				toolsets = append(toolsets, t.Name)
			}
		}
	}
	var pairs []policy.Pair
	for _, w := range all {
		for _, w.Toolset = range toolsets {
			if p := (policy.Pair{Before: there(before, w), After: there(after, w)}); p.Before != nil || p.After != nil {
				pairs = append(pairs, p)
			}
		}
	}
	return policy.Diff(before.Policies, after.Policies, policy.Subjects(before.Config, after.Config), pairs, unknown)
}

// there is what a plan has of that name; nil when it has nothing.
func there(p *plan.Plan, w policy.What) *policy.Object {
	t := p.Toolset(w.Toolset)
	if w.Toolset != "" && t == nil {
		return nil
	}
	o, err := w.Object(p.Config)
	if err != nil || p.Server(o.Server) == nil || t != nil && !holds(t, p.Server(o.Server), o) {
		return nil
	}
	return o
}

func holds(t *plan.Toolset, s *plan.Server, o *policy.Object) bool {
	switch o.Kind {
	case policy.KindTool:
		_, tool, _ := t.Tool(s, o.Name)
		return slices.Contains(t.Servers, s) && tool != nil
	case policy.KindPrompt:
		return holdsPrompt(t, o.Shown)
	}
	return slices.Contains(t.Servers, s) && t.HoldsResource(o.Name)
}
