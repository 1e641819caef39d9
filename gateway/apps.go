package gateway

import "github.com/toolcrib/toolcrib/mcp"

// forApps tells whether a tool is for its server's own app only (MCP Apps: _meta.ui.visibility without "model").
func forApps(tool []byte) bool {
	visibility := mcp.Span{End: int32(len(tool))}
	for _, name := range [...]string{"_meta", "ui", "visibility"} {
		var ok bool
		if visibility, ok = inner(tool, visibility, name); !ok {
			return false
		}
	}
	if tool[visibility.Start] != '[' {
		return false
	}
	app, model := false, false
	mcp.Elements(tool, visibility, func(e mcp.Span) bool {
		text, _ := mcp.Text(tool, e, nil)
		app = app || string(text) == "app"
		model = model || string(text) == "model"
		return true
	})
	return app && !model
}

func inner(raw []byte, object mcp.Span, name string) (mcp.Span, bool) {
	if raw[object.Start] != '{' {
		return object, false
	}
	f, err := mcp.Lookup(raw, object, name)
	return f.Span, err == nil && f.Present()
}
