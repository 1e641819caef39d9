package alerts

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/toolcrib/toolcrib/telemetry"
)

// builder writes expressions with the values of an installation.
type builder struct {
	v         *Values
	catalogue []telemetry.Metric
	// missing is what the catalogue does not have.
	missing []error
	// pair are the windows of a budget's burn that is asked for now.
	pair Burn
}

// metric is a metric of the catalogue, which has these labels.
func (b *builder) metric(name string, labels ...string) string {
	i := slices.IndexFunc(b.catalogue, func(m telemetry.Metric) bool { return m.Name == name })
	if i < 0 {
		b.missing = append(b.missing, fmt.Errorf("the catalogue has no metric %s", name))
		return name
	}
	for _, label := range labels {
		if !slices.Contains(b.catalogue[i].Labels, label) {
			b.missing = append(b.missing, fmt.Errorf("the catalogue's metric %s has no label %s", name, label))
		}
	}
	return name
}

// labels are those that nothing is summed over, and further ones.
func (b *builder) labels(more ...string) string {
	all := slices.Clone(b.v.By)
	for _, label := range more {
		if !slices.Contains(all, label) {
			all = append(all, label)
		}
	}
	return "(" + strings.Join(all, ", ") + ")"
}

func (b *builder) by(more ...string) string { return " by " + b.labels(more...) + " " }
func (b *builder) on(more ...string) string { return " on " + b.labels(more...) + " " }

// level are the labels of a server or a tool.
func level(of string) []string {
	if of == "tool" {
		return []string{"server", "tool"}
	}
	return []string{"server"}
}

// rate is how much counters grow in a second, summed by level.
func (b *builder) rate(of, name, matchers string, window Duration) string {
	return "sum" + b.by(level(of)...) + "(rate(" + b.metric(name, level(of)...) + braced(matchers) + "[" + string(window) + "]))"
}

func braced(matchers string) string {
	if matchers == "" {
		return ""
	}
	return "{" + matchers + "}"
}

// success is the share of what did not fail.
func (b *builder) success(of, name, failed, all string, window Duration) string {
	return "1 - " + b.rate(of, name, failed, window) + "\n  / " + b.rate(of, name, all, window)
}

// grown is by how much counters grew in a window.
func (b *builder) grown(of, name, matchers string, window Duration) string {
	return "sum" + b.by(level(of)...) + "(increase(" + b.metric(name, level(of)...) + braced(matchers) + "[" + string(window) + "]))"
}

// repeated wants so many failures that they are not chance. However rarely something is done, it tells of what always fails.
func (b *builder) repeated(of, name, failed string, s Setting) string {
	return "\nand" + b.on(level(of)...) + b.grown(of, name, failed, s.Window) + " >= " + strconv.Itoa(s.Failures)
}

// often wants so many calls in a window that one that fails, or is slow, is not a good part of them.
func (b *builder) often(of string, window Duration) string {
	if b.v.Objectives.Least == 0 {
		return ""
	}
	return "\nand" + b.on(level(of)...) + b.grown(of, "mcp_tool_requests_total", "", window) + " >= " + strconv.Itoa(b.v.Objectives.Least)
}

// left is the time until the soonest of moments.
func (b *builder) left(name, label string) string {
	return "min" + b.by(label) + "(" + b.metric(name, label) + ") - time()"
}

// Names of what is recorded.

func (b *builder) requests(of string) string {
	return of + ":mcp_tool_requests:rate" + string(b.v.Base)
}

func (b *builder) errors(of string) string { return of + ":mcp_tool_errors:rate" + string(b.v.Base) }

func (*builder) ratio(of string, window Duration) string {
	return of + ":mcp_tool_errors:ratio_rate" + string(window)
}
func (*builder) budget(of string) string { return of + ":mcp_error_budget:ratio" }
func (*builder) quantile(q string, window Duration) string {
	return "tool:mcp_tool_duration_seconds:p" + strings.TrimPrefix(q+"0", "0.")[:2] + "_rate" + string(window)
}

// burning tells how many times too fast a budget is used up, over both windows.
func (b *builder) burning(of string) string {
	times := func(window Duration) string {
		return b.ratio(of, window) + " /" + b.on(level(of)...) + b.budget(of) + " > " + number(b.pair.Factor)
	}
	expr := times(b.pair.Long) + "\nand" + b.on(level(of)...) + times(b.pair.Short)
	if least := b.v.Objectives.Least; least > 0 {
		expr += "\nand" + b.on(level(of)...) + b.sum(b.requests(of), b.pair.Long) + " * " + number(b.v.Base.time().Seconds()) + " >= " + strconv.Itoa(least)
	}
	return expr
}

// sum adds up what is recorded of a rate: one for each time that it covers.
func (b *builder) sum(name string, window Duration) string {
	if window == b.v.Base {
		return name
	}
	return "sum_over_time(" + name + "[" + string(window) + ":" + string(b.v.Base) + "])"
}

func number(n float64) string { return strconv.FormatFloat(n, 'g', 12, 64) }

// matching is the matcher for names with * for anything.
func matching(label, pattern string) string {
	if !strings.Contains(pattern, "*") {
		return label + "=" + strconv.Quote(pattern)
	}
	return label + "=~" + strconv.Quote(strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*"))
}
