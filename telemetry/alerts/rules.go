package alerts

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/toolcrib/toolcrib/telemetry"
)

// file is a file of rules, as Prometheus reads it.
type file struct {
	Groups []group `yaml:"groups"`
}

type group struct {
	Name     string   `yaml:"name"`
	Interval Duration `yaml:"interval,omitempty"`
	Rules    []rule   `yaml:"rules"`
}

type rule struct {
	Record      string            `yaml:"record,omitempty"`
	Alert       string            `yaml:"alert,omitempty"`
	Expr        string            `yaml:"expr"`
	For         Duration          `yaml:"for,omitempty"`
	Labels      map[string]string `yaml:"labels,omitempty"`
	Annotations map[string]string `yaml:"annotations,omitempty"`
}

const head = `# Recording rules and alerts for Prometheus, made by "toolcrib alerts". Change thresholds, windows and objectives by
# values (docs/alerts.md) rather than here.
`

// Generate writes the file of rules.
func Generate(v *Values) ([]byte, error) {
	b := &builder{v: v, catalogue: telemetry.Catalogue()}
	f := file{Groups: []group{
		{Name: "toolcrib-rates", Interval: v.Interval, Rules: b.rates()},
		{Name: "toolcrib-objectives", Interval: v.Interval, Rules: b.ratios()},
		{Name: "toolcrib-alerts", Interval: v.Interval},
	}}
	for i := range table {
		if a := &table[i]; !v.Alerts[a.name].Off {
			f.Groups[2].Rules = append(f.Groups[2].Rules, b.alert(a)...)
		}
	}
	if err := errors.Join(b.missing...); err != nil {
		return nil, err
	}
	text, err := encode(f)
	return append([]byte(head), text...), err
}

func encode(v any) ([]byte, error) {
	return yaml.Dump(v, yaml.WithV3Defaults(), yaml.WithIndent(2), yaml.WithLineWidth(-1))
}

// rates are the rules that count calls, once for all others.
func (b *builder) rates() []rule {
	all := []rule{{ // pod and namespace stay, for an autoscaler; scrapes may be a minute apart
		Record: "mcp_tool_requests_per_second",
		Expr:   "sum without (server, tool) (rate(" + b.metric("mcp_tool_requests_total") + "[2m]))",
	}}
	add := func(name, expr string) { all = append(all, rule{Record: name, Expr: expr}) }
	add(b.requests("tool"), b.rate("tool", "mcp_tool_requests_total", "", b.v.Base))
	failed := ""
	if len(b.v.Ignore) > 0 {
		b.metric("mcp_tool_errors_total", "error_type")
		failed = `error_type!~"` + strings.Join(b.v.Ignore, "|") + `"`
	}
	// Where nothing failed yet there is no counter of errors: that is none.
	add(b.errors("tool"), b.rate("tool", "mcp_tool_errors_total", failed, b.v.Base)+"\nor 0 * "+b.requests("tool"))
	for _, name := range []string{b.requests("tool"), b.errors("tool")} {
		add(strings.Replace(name, "tool:", "server:", 1), "sum"+b.by("server")+"("+name+")")
	}
	if s := b.v.Alerts["ToolcribToolLatency"]; !s.Off {
		for _, q := range []string{"0.5", "0.99"} {
			add(b.quantile(q, s.Window), "histogram_quantile("+q+", sum"+b.by("server", "tool", "le")+
				"(rate("+b.metric("mcp_tool_duration_seconds", "server", "tool")+"_bucket["+string(s.Window)+"])))")
		}
	}
	return all
}

// ratios are the rules that say what part of calls failed over each window, and what part may.
func (b *builder) ratios() (all []rule) {
	for _, of := range []string{"server", "tool"} {
		for _, window := range b.windows() {
			all = append(all, rule{Record: b.ratio(of, window), Expr: b.sum(b.errors(of), window) + "\n  / " + b.sum(b.requests(of), window)})
		}
		all = append(all, rule{Record: b.budget(of), Expr: b.allowed(of)})
	}
	return all
}

// windows are those over which failures are counted, the shortest first.
func (b *builder) windows() []Duration {
	all := make([]Duration, 0, 2+2*len(b.v.Burn))
	all = append(all, b.v.Base, b.v.Alerts["ToolcribToolErrors"].Window)
	for _, burn := range b.v.Burn {
		all = append(all, burn.Long, burn.Short)
	}
	slices.SortFunc(all, func(a, b Duration) int { return int(a.time() - b.time()) })
	return slices.Compact(all)
}

// allowed is the part of calls that may fail, by the first objective that fits.
func (b *builder) allowed(of string) string {
	o := &b.v.Objectives
	var parts []string
	add := func(matchers string, success float64) {
		parts = append(parts, "0 * "+b.requests(of)+matchers+" + "+number(1-success))
	}
	for _, s := range o.Special {
		switch {
		case of == "tool" && s.Tool != "":
			add("{"+matching("server", s.Server)+", "+matching("tool", s.Tool)+"}", s.Success)
		case of == "server" && s.Tool == "":
			add("{"+matching("server", s.Server)+"}", s.Success)
		}
	}
	if of == "server" {
		add("", o.Server)
	} else {
		add("", o.Tool)
	}
	return strings.Join(parts, "\nor ")
}

// alert are the rules of an alert: one, or one for each pair of windows.
func (b *builder) alert(a *alert) (all []rule) {
	s := b.v.Alerts[a.name]
	if !a.burns {
		return []rule{b.rule(a, s, nil)}
	}
	for _, b.pair = range b.v.Burn {
		window := map[string]string{"window": string(b.pair.Long)}
		all = append(all, b.rule(a, Setting{Severity: b.pair.Severity, For: b.pair.For}, window))
	}
	return all
}

func (b *builder) rule(a *alert, s Setting, more map[string]string) rule {
	threshold, _ := a.unit.parse(s.Threshold) // checked when it was read
	labels := maps.Clone(b.v.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, more)
	labels["severity"] = s.Severity
	return rule{
		Alert: a.name, Expr: a.expr(b, s, number(threshold)), For: s.For, Labels: labels,
		Annotations: map[string]string{
			"summary": a.summary, "description": a.description,
			"runbook_url": strings.TrimSuffix(b.v.Runbooks, "/") + "/" + a.name + ".md",
		},
	}
}

// time is the duration as a number; it was checked when it was read.
func (d Duration) time() time.Duration {
	t, _ := d.parse()
	return t
}
