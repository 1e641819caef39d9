package gateway

import "github.com/toolcrib/toolcrib/mcp"

// forApps tells whether a tool is for its server's own app only (MCP Apps: _meta.ui.visibility without "model").
func forApps(tool []byte) bool {
	visibility := at(at(at(tool, "_meta"), "ui"), "visibility")
	if len(visibility) == 0 || visibility[0] != '[' {
		return false
	}
	app, model := false, false
	mcp.Elements(visibility, mcp.Span{End: int32(len(visibility))}, func(e mcp.Span) bool {
		text, _ := mcp.Text(visibility, e, nil)
		app = app || string(text) == "app"
		model = model || string(text) == "model"
		return true
	})
	return app && !model
}
