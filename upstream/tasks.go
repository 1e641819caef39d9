package upstream

import "github.com/toolcrib/toolcrib/mcp"

// TasksExtension is how the tasks extension of 2026-07-28 is called in capabilities.
const TasksExtension = "io.modelcontextprotocol/tasks"

// plainTask asks a legacy server to run a call as a task, for as long as it likes to keep it (2025-11-25 tasks "Creating Tasks").
var plainTask = []byte(`"task":{}`)

// DeclareTasks adds the tasks extension to raw capabilities of 2026-07-28, unless it is among them.
func DeclareTasks(capabilities []byte) []byte {
	var e mcp.Edits
	declareTasks(&e, capabilities, mcp.Span{End: int32(len(capabilities))})
	if e.Empty() {
		return capabilities
	}
	return e.Append(nil, capabilities)
}

// DeclaresTasks tells whether raw capabilities of 2026-07-28 have the tasks extension.
func DeclaresTasks(capabilities []byte) bool {
	ok, extensions := member(capabilities, "extensions")
	if !ok {
		return false
	}
	ok, _ = member(extensions, TasksExtension)
	return ok
}

// HasTasks tells whether a server with these capabilities can carry tools/call out as a task.
func (p *Peer) HasTasks() bool {
	if p.Modern {
		return DeclaresTasks(p.Capabilities)
	}
	inner := p.Capabilities
	for _, name := range [...]string{"tasks", "requests", "tools", "call"} {
		var ok bool
		if ok, inner = member(inner, name); !ok {
			return false
		}
	}
	return true
}

func declareTasks(e *mcp.Edits, body []byte, capabilities mcp.Span) {
	ext, err := mcp.Lookup(body, capabilities, "extensions")
	if err != nil {
		return // the server judges it
	}
	if !ext.Present() {
		e.Insert(body, capabilities, []byte(`"extensions":{"`+TasksExtension+`":{}}`))
		return
	}
	if tasks, err := mcp.Lookup(body, ext.Span, TasksExtension); err == nil && !tasks.Present() {
		e.Insert(body, ext.Span, []byte(`"`+TasksExtension+`":{}`))
	}
}

// untask takes params.task off a call that is not to become a task at a legacy server, or that goes to a modern one, which
// decides by itself.
func (d *draft) untask(c *Call) {
	if c.In.Method == mcp.MethodToolsCall {
		d.edits.Remove(c.In.Body, c.In.Fields[mcp.KeyTask])
	}
}
