package gateway

import (
	"context"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/upstream"
)

// coreTasks is what a legacy client is told of tasks. Nobody keeps all tasks of a caller, so there is no list.
var coreTasks = []byte(`"tasks":{"cancel":{},"requests":{"tools":{"call":{}}}}`)

// tasked tells whether an endpoint has tasks: any of the servers that the caller may see has them, or is not up yet and may.
func (e *endpoint) tasked(ctx context.Context, v *policy.View) bool {
	for _, m := range e.members {
		if !e.sees(v, m, policy.KindTool) {
			continue
		}
		if m.family != nil && m.family.personal() {
			if p := m.family.peer.Load(); p == nil || p.HasTasks() {
				return true
			}
			continue
		}
		switch m.server.Status().State {
		case upstream.StateStarting:
			return true
		case upstream.StateReady, upstream.StateIdle:
			if p, err := m.server.Peer(ctx); err == nil && p.HasTasks() {
				return true
			}
		}
	}
	return false
}

// ForModern are the capabilities as a client of 2026-07-28 is told of them.
func (d *Description) ForModern() []byte {
	if !d.tasks {
		return d.Capabilities
	}
	return upstream.DeclareTasks(d.Capabilities)
}

// ForLegacy are the capabilities as a client of a legacy version is told of them: extensions came later, and tasks are of
// 2025-11-25 only.
func (d *Description) ForLegacy(version string) []byte {
	if !d.tasks || !mcp.HasTasks(version) {
		return d.Capabilities
	}
	var e mcp.Edits
	e.Insert(d.Capabilities, mcp.Span{End: int32(len(d.Capabilities))}, coreTasks)
	return e.Append(nil, d.Capabilities)
}
