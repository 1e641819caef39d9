package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strconv"
)

//go:embed page.gohtml
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

// page is what the template shows: the report and what is made of it.
type page struct {
	*Report
	Rows        [][]string
	FailureRows []failureRow
	Remarks     []string
	Charts      []chart
	frame
}

type failureRow struct {
	Name, Example string
	Count         int64
}

// WriteHTML writes the report as a page with charts. It needs no script and no network.
func (r *Report) WriteHTML(w io.Writer) error {
	p := &page{Report: r, Rows: [][]string{totalsRow("all", &r.Totals)}, Charts: r.charts(), Remarks: r.remarks(), frame: chartFrame}
	for i := range r.Ops {
		p.Rows = append(p.Rows, totalsRow(r.Ops[i].name(), &r.Ops[i].Totals))
	}
	for i := range r.Failures {
		f := &r.Failures[i]
		p.FailureRows = append(p.FailureRows, failureRow{cut(f.name()), f.Example, f.Count})
	}
	if err := pageTemplate.Execute(w, p); err != nil {
		return fmt.Errorf("write the page: %w", err)
	}
	return nil
}

// Started is when it began, and after what.
func (r *Report) Started() string { return r.started() }

// EraNames are the eras of the callers.
func (r *Report) EraNames() string { return r.eras() }

func (r *Report) charts() []chart {
	x := timeScale(r.Timeline)
	p50, p99, most := line{Name: "p50", Class: "a"}, line{Name: "p99", Class: "b"}, line{Name: "longest", Class: "c"}
	answered, errors := line{Name: "answered", Class: "a"}, line{Name: "errors", Class: "bad"}
	for i := range r.Timeline {
		s := &r.Timeline[i]
		at := "at " + seconds(s.At) + ": "
		if s.Due > 0 {
			p50.add(s.At, s.P50, at+millis(s.P50))
			p99.add(s.At, s.P99, at+millis(s.P99))
			most.add(s.At, s.Max, at+millis(s.Max))
		}
		answered.add(s.At, s.AnsweredPerSec, at+number(s.AnsweredPerSec)+"/s")
		errors.add(s.At, s.ErrorsPerSecond, at+number(s.ErrorsPerSecond)+"/s")
	}
	curve := line{Name: "all requests", Class: "a"}
	for _, point := range r.Curve {
		curve.add(point.Percentile, point.Ms, fmt.Sprintf("%g %% within %s", point.Percentile, millis(point.Ms)))
	}
	return []chart{
		newChart("Latency over time, of what was due then", x, millis, logScale, p50, p99, most),
		newChart("Latency by percentile", percentileScale(r.Curve), millis, logScale, curve),
		newChart("Answered a second", x, number, linearScale, answered),
		newChart("Errors a second", x, number, linearScale, errors),
	}
}

func number(v float64) string { return strconv.FormatFloat(v, 'g', 4, 64) }
