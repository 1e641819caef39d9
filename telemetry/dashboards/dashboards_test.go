package dashboards_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/telemetry/dashboards"
)

var update = flag.Bool("update", false, "write deploy/grafana anew")

const shipped = "../../deploy/grafana"

// TestShipped holds the files that are shipped to the table.
func TestShipped(t *testing.T) {
	want := map[string]bool{}
	for _, d := range dashboards.All {
		text, err := d.Render()
		if err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(shipped, d.Name+".json")
		want[file] = true
		text = append(text, '\n')
		if *update {
			if err := os.WriteFile(file, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(text), string(got)); diff != "" {
			t.Errorf("%s is stale; run go generate ./telemetry/dashboards (-want +got):\n%s", file, diff)
		}
	}
	files, err := filepath.Glob(filepath.Join(shipped, "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !want[file] {
			t.Errorf("%s is of no dashboard; remove it", file)
		}
	}
}

var (
	inQuery  = regexp.MustCompile(`\b(?:mcp|toolcrib)_[a-z_]+`)
	notNames = regexp.MustCompile(`\b(?:server|tool):[a-z_0-9:]+|mcp_tool_requests_per_second|by \([^)]*\)|on \([^)]*\)`)
	inBraces = regexp.MustCompile(`\{[^}]*\}`)
	suffix   = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// TestShape holds panels to what people can use: each has a title, a unit and a legend, no two are the same, and its metrics are
// those of the catalogue.
func TestShape(t *testing.T) {
	known := map[string]telemetry.Kind{}
	for _, m := range telemetry.Catalogue() {
		known[m.Name] = m.Kind
	}
	names := map[string]bool{}
	for _, d := range dashboards.All {
		if names[d.Name] || !strings.HasPrefix(d.Title, "Toolcrib: ") || len(d.Panels) < 5 {
			t.Errorf("%s: a dashboard has a name of its own, a title and some panels", d.Name)
		}
		names[d.Name] = true
		titles := map[string]bool{}
		for _, p := range d.Panels {
			if titles[p.Title] || p.Title == "" || p.Unit == "" || len(p.Queries) == 0 {
				t.Errorf("%s, %q: a panel has a title of its own, a unit and queries", d.Name, p.Title)
			}
			titles[p.Title] = true
			for _, q := range p.Queries {
				checkQuery(t, d.Name+", "+p.Title, q, known, d.Servers)
			}
		}
	}
}

func checkQuery(t *testing.T, at string, q dashboards.Query, known map[string]telemetry.Kind, servers bool) {
	t.Helper()
	if q.Legend == "" {
		t.Errorf("%s: %s has no legend", at, q.Expr)
	}
	if strings.Contains(q.Expr, "$server") && !servers {
		t.Errorf("%s: no server can be chosen there", at)
	}
	// What is of no job is that of all: alerts of other gateways, for one.
	for _, selector := range inBraces.FindAllString(q.Expr, -1) {
		if !strings.Contains(selector, `job=~"$job"`) {
			t.Errorf("%s: %s is of all jobs", at, selector)
		}
	}
	if strings.Count(q.Expr, "(") != strings.Count(q.Expr, ")") {
		t.Errorf("%s: parentheses of %s", at, q.Expr)
	}
	for _, name := range inQuery.FindAllString(notNames.ReplaceAllString(q.Expr, ""), -1) {
		base := suffix.ReplaceAllString(name, "")
		if kind, there := known[base]; !there || (kind == telemetry.Histogram) != (base != name) {
			t.Errorf("%s: the catalogue has no %s", at, name)
		}
	}
}
