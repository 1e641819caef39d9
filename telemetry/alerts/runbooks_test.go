package alerts_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/telemetry/alerts"
)

// headings are what each runbook tells.
var headings = []string{"## What it means", "## How to see it", "## What to do", "## How to know that it is over"}

// TestRunbooks: each alert has a runbook, and each runbook an alert.
func TestRunbooks(t *testing.T) {
	const folder = "../../docs/runbooks"
	found, err := filepath.Glob(folder + "/*.md")
	if err != nil {
		t.Fatal(err)
	}
	if len(found) != len(alerts.Names()) {
		t.Errorf("%d runbooks for %d alerts", len(found), len(alerts.Names()))
	}
	page, err := os.ReadFile("../../docs/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range alerts.Names() {
		text, err := os.ReadFile(filepath.Join(folder, name+".md"))
		if err != nil {
			t.Error(err)
			continue
		}
		if !strings.Contains(string(text), "(../alerts.md#the-commands-of-runbooks)") {
			t.Errorf("%s does not say how its commands find another gateway", name)
		}
		last := 0
		for _, heading := range headings {
			at := strings.Index(string(text), "\n"+heading+"\n")
			if at <= last {
				t.Errorf("%s: %q is missing, or not in its place", name, heading)
			}
			last = at
		}
		if !strings.Contains(string(page), "(runbooks/"+name+".md)") {
			t.Errorf("docs/alerts.md does not link to the runbook of %s", name)
		}
	}
}

// metricName is a metric as pages name it: of the catalogue, or of a rule that records it.
var metricName = regexp.MustCompile(`\b((server|tool):)?(mcp|toolcrib)_[a-z0-9_]+(:[a-z0-9_]+)?\b`)

// TestNames: the metrics that runbooks name exist.
func TestNames(t *testing.T) {
	rules := generate(t, "")
	pages, err := filepath.Glob("../../docs/runbooks/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, page := range append(pages, "../../docs/alerts.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range metricName.FindAllString(string(text), -1) {
			if !exists(name) && !strings.Contains(rules, "record: "+name+"\n") {
				t.Errorf("%s names %s, which there is not", filepath.Base(page), name)
			}
		}
	}
}

func exists(name string) bool {
	name = strings.TrimSuffix(name, "_bucket")
	return slices.ContainsFunc(telemetry.Catalogue(), func(m telemetry.Metric) bool { return m.Name == name })
}
