package telemetry_test

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/telemetry"
)

// TestCatalogue holds entries to the naming of Prometheus and OpenTelemetry, and each label to its explanation.
func TestCatalogue(t *testing.T) {
	explained := map[string]bool{}
	for _, l := range telemetry.Labels() {
		if explained[l.Name] || l.Values == "" || l.Bound == "" {
			t.Errorf("label %s is explained twice or not at all", l.Name)
		}
		explained[l.Name] = true
	}
	used, names := map[string]bool{}, map[string]bool{}
	for _, m := range telemetry.Catalogue() {
		if names[m.Name] || names[m.OTel] {
			t.Errorf("%s is there twice", m.Name)
		}
		names[m.Name], names[m.OTel] = true, true
		for _, fault := range faults(m) {
			t.Errorf("%s: %s", m.Name, fault)
		}
		for _, l := range m.Labels {
			used[l] = true
			if !explained[l] {
				t.Errorf("%s: nobody explains its label %s", m.Name, l)
			}
		}
	}
	for l := range explained {
		if !used[l] {
			t.Errorf("no metric has the label %s", l)
		}
	}
}

var (
	promName = regexp.MustCompile(`^(mcp|toolcrib)(_[a-z]+)+$`)
	otelName = regexp.MustCompile(`^(mcp|toolcrib)(\.[a-z_]+)+$`)
)

func faults(m telemetry.Metric) (all []string) {
	wrong := func(is bool, what string) {
		if is {
			all = append(all, what)
		}
	}
	suffix := map[string]string{"s": "_seconds", "By": "_bytes"}[m.Unit]
	base, total := strings.CutSuffix(m.Name, "_total")
	wrong(!promName.MatchString(m.Name), "not a name for Prometheus")
	wrong(!otelName.MatchString(m.OTel), "not a name for OpenTelemetry: "+m.OTel)
	wrong(total != (m.Kind == telemetry.Counter), "counters end in _total, and nothing else")
	wrong(!strings.HasSuffix(base, suffix), "the name does not tell the unit "+m.Unit)
	wrong((m.Kind == telemetry.Histogram) != (len(m.Buckets) > 0), "histograms have buckets, and nothing else")
	wrong(!slices.IsSorted(m.Buckets), "buckets are not in order")
	wrong(!strings.HasSuffix(m.Help, "."), "the help is no sentence")
	return all
}
