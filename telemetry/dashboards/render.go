package dashboards

import "encoding/json"

const (
	schema  = 39 // of Grafana 11
	columns = 24
	height  = 8
)

// Render makes the JSON that Grafana imports.
func (d *Dashboard) Render() ([]byte, error) {
	panels := make([]map[string]any, len(d.Panels))
	for i := range d.Panels {
		panels[i] = d.Panels[i].render(i)
	}
	return json.MarshalIndent(map[string]any{
		"uid": "toolcrib-" + d.Name, "title": d.Title, "tags": []string{"toolcrib"}, "schemaVersion": schema, "version": 1, "editable": true,
		"refresh": "30s", "timezone": "browser", "time": map[string]string{"from": "now-1h", "to": "now"},
		"templating": map[string]any{"list": d.variables()}, "panels": panels,
		"links": []any{map[string]any{
			"type": "dashboards", "title": "Toolcrib", "tags": []string{"toolcrib"}, "asDropdown": true, "keepTime": true, "includeVars": true,
		}},
	}, "", "  ")
}

// variables are what can be chosen above the panels.
func (d *Dashboard) variables() []any {
	source := map[string]string{"type": "prometheus", "uid": "${datasource}"}
	several := func(name, query string) any {
		return map[string]any{
			"name": name, "label": name, "type": "query", "datasource": source, "query": query, "definition": query, "refresh": 2, "sort": 1,
			"includeAll": true, "multi": true, "allValue": ".*", "current": map[string]any{"text": "All", "value": "$__all"},
		}
	}
	all := []any{
		map[string]any{"name": "datasource", "label": "data source", "type": "datasource", "query": "prometheus"},
		several("job", "label_values(toolcrib_build_info, job)"),
	}
	if d.Servers {
		all = append(all, several("server", `label_values(mcp_server_state{job=~"$job"}, server)`))
	}
	return all
}

func (p *Panel) render(i int) map[string]any {
	source := map[string]string{"type": "prometheus", "uid": "${datasource}"}
	targets := make([]any, len(p.Queries))
	for j, q := range p.Queries {
		targets[j] = map[string]any{
			"refId": string(rune('A' + j)), "datasource": source, "expr": q.Expr, "legendFormat": q.Legend,
			"instant": p.Kind != lines, "range": p.Kind == lines, "format": format(p.Kind),
		}
	}
	width := columns / 2
	return map[string]any{
		"id": i + 1, "type": p.Kind, "title": p.Title, "description": p.About, "datasource": source, "targets": targets,
		"gridPos":     map[string]int{"x": i % 2 * width, "y": i / 2 * height, "w": width, "h": height},
		"fieldConfig": map[string]any{"defaults": map[string]any{"unit": p.Unit, "min": 0}, "overrides": []any{}},
	}
}

func format(kind string) string {
	if kind == table {
		return table
	}
	return "time_series"
}
