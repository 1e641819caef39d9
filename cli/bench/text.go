package bench

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// WriteJSON writes the whole report.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// Load is the load in words.
func (r *Report) Load() string {
	text := fmt.Sprintf("open loop, %g/s", r.Rate)
	if r.Loop == "closed" {
		text = fmt.Sprintf("closed loop, %d callers", r.Concurrency)
		if r.ThinkMs > 0 {
			text += ", thinking " + millis(r.ThinkMs)
		}
	}
	return text + " for " + seconds(r.Seconds)
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Millisecond).String()
}

// Summary is the whole in one line.
func (r *Report) Summary() string {
	return fmt.Sprintf("%s: %s: %d requests, %.1f/s answered, p99 %s, %d errors (%s)",
		r.Result, r.Load(), r.Sent, r.PerSecond, millis(r.Latency.P99), r.Errors, percent(r.ErrorPercent))
}

// WriteText writes what a person wants to know.
func (r *Report) WriteText(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintf(w, "%s, %s\n", r.Target, r.Load())
	_, _ = fmt.Fprintf(w, "%s; mix %s; eras %s\n\n", r.started(), r.Mix, r.eras())
	_, _ = fmt.Fprintf(w, "requests %d, answered %d (%.1f/s), errors %d (%s), at most %d in flight\n\n",
		r.Sent, r.Answered, r.PerSecond, r.Errors, percent(r.ErrorPercent), r.MostInFlight)
	_, _ = fmt.Fprintf(w, "LATENCY\tREQUESTS\tERRORS\tMEAN\tP50\tP90\tP99\tP99.9\tMAX\n")
	textRow(w, "all", &r.Totals)
	for i := range r.Ops {
		textRow(w, r.Ops[i].name(), &r.Ops[i].Totals)
	}
	if len(r.Failures) > 0 {
		_, _ = fmt.Fprintf(w, "\nERRORS\tWHAT\tEXAMPLE\n")
	}
	for i := range r.Failures {
		f := &r.Failures[i]
		_, _ = fmt.Fprintf(w, "%d\t%s\t%s\n", f.Count, cut(f.name()), f.Example)
	}
	if len(r.Objectives) > 0 {
		_, _ = fmt.Fprintf(w, "\nOBJECTIVE\tMEASURED\t\n")
	}
	for _, o := range r.Objectives {
		_, _ = fmt.Fprintf(w, "%s\t%s\t%s\n", o.Name, o.Measured, met(o.Met))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	return r.writeNotes(out)
}

func (r *Report) started() string {
	text := r.At.Format(time.RFC3339)
	if r.Warmup > 0 {
		text += " after a warm-up of " + seconds(r.Warmup)
	}
	return text
}

func (r *Report) eras() string {
	names := make([]string, len(r.Eras))
	for i, era := range r.Eras {
		names[i] = string(era)
	}
	return strings.Join(names, ", ")
}

// name is the kind, or the tool below its kind.
func (o *OpReport) name() string {
	if o.Tool == "" {
		return o.Op
	}
	return "  " + cut(o.Tool)
}

func textRow(w io.Writer, name string, t *Totals) {
	_, _ = fmt.Fprintln(w, strings.Join(totalsRow(name, t), "\t"))
}

func totalsRow(name string, t *Totals) []string {
	l := &t.Latency
	return []string{
		name, strconv.FormatInt(t.Sent, 10), strconv.FormatInt(t.Errors, 10),
		millis(l.Mean), millis(l.P50), millis(l.P90), millis(l.P99), millis(l.P999), millis(l.Max),
	}
}

func met(is bool) string {
	if is {
		return "met"
	}
	return "MISSED"
}

// writeNotes tells what a reader should know before he believes the numbers.
func (r *Report) writeNotes(w io.Writer) error {
	text := "\n" + strings.Join(r.remarks(), "\n") + "\n"
	if r.Interrupted {
		text += "The load was ended before its time.\n"
	}
	if r.Result != NoObjective {
		text += "Result: " + r.Result + "\n"
	}
	_, err := io.WriteString(w, text)
	return err
}

func (r *Report) remarks() []string {
	var list []string
	if r.Loop == "closed" {
		list = append(list, "Callers of a closed loop wait while the server stalls, and so send less: for what arrivals would wait use --rate.")
	}
	if r.Generator.KeptUp {
		list = append(list, "The load generator kept up; its own delay was at most "+millis(r.Generator.DelayMs)+" (p99).")
	}
	for _, note := range r.Notes {
		list = append(list, "Note: "+note)
	}
	return list
}

// String is one line of progress.
func (p Progress) String() string {
	when := p.Elapsed.Round(time.Second).String()
	if p.Elapsed < 0 {
		return "warming up, " + strings.TrimPrefix(when, "-") + " to go"
	}
	return fmt.Sprintf("%s  %d answered (%.0f/s)  p50 %s  p99 %s  %d errors  %d in flight", when, p.Answered,
		float64(p.Answered)/max(p.Elapsed.Seconds(), 0.001), millis(p.P50), millis(p.P99), p.Errors, p.InFlight)
}
