package main

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"
)

// print writes the report for people.
func (r *report) print(w io.Writer) {
	fmt.Fprintln(w, r.Machine)
	for _, n := range r.Notes {
		fmt.Fprintln(w, "note:", n)
	}
	fmt.Fprint(w, "CPU is user and system time of the process alone; × bare is its ratio to the bare httputil.ReverseProxy of the same\n"+
		"round: median (least–most). Up is requests that reached the upstream for each call, new the connections it had not seen\n"+
		"before. Others is how many CPUs strangers used meanwhile: over 0.1, trust neither latency nor small differences.\n")
	for _, t := range r.Tables {
		if len(t.Lines) > 0 {
			t.print(w)
		}
	}
	r.printFigures(w)
	r.printLimits(w)
	for _, e := range r.Errors {
		fmt.Fprintln(w, "ERROR:", e)
	}
}

func (t *table) print(w io.Writer) {
	fmt.Fprintf(w, "\n%s (%d connections)\n", t.Title, t.Conns)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(tw, "target\tcalls/s\tCPU µs\t× bare\tp50 µs\tp99 µs\tRSS MiB\tup\tnew\tothers\terrors\t")
	for _, l := range t.Lines {
		fmt.Fprintf(tw, "%s\t%.0f\t%s\t%s\t%.0f\t%.0f\t%s\t%.3f\t%.0f\t%s\t%d\t\n", l.Label,
			l.of((*sample).rate).mid,
			positive("%.1f", l.of((*sample).perCall).mid),
			ratios(l.Ratios),
			l.of(func(s *sample) float64 { return micros(s.P50) }).mid,
			l.of(func(s *sample) float64 { return micros(s.P99) }).mid,
			positive("%.1f", l.of(func(s *sample) float64 { return mebibytes(s.RSS) }).most),
			l.of((*sample).requestsPerCall).mid,
			l.of(func(s *sample) float64 { return float64(s.Conns) }).mid,
			known("%.2f", l.of(func(s *sample) float64 { return s.Others }).mid),
			l.errors())
	}
	_ = tw.Flush() // an error of w shows at the next write to it
}

func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1000 }

// positive is a value that is unknown when it is 0.
func positive(format string, v float64) string {
	if v <= 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

// known is a value that is unknown when it is below 0.
func known(format string, v float64) string {
	if v < 0 {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

func ratios(v []float64) string {
	if len(v) == 0 {
		return "-"
	}
	s := spreadOf(v)
	if s.n == 1 {
		return fmt.Sprintf("%.2f", s.mid)
	}
	return fmt.Sprintf("%.2f (%.2f–%.2f)", s.mid, s.least, s.most)
}

func (r *report) printFigures(w io.Writer) {
	if len(r.Figures) == 0 {
		return
	}
	fmt.Fprintln(w, "\nOnce a start")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, f := range r.Figures {
		s := spreadOf(f.Values)
		value := fmt.Sprintf("%.4g %s", s.mid, f.Unit)
		if s.n > 1 && s.least != s.most {
			value += fmt.Sprintf(" (%.4g–%.4g)", s.least, s.most)
		}
		fmt.Fprintf(tw, "  %s\t%s\n", f.Title, value)
	}
	_ = tw.Flush() // an error of w shows at the next write to it
}

func (r *report) printLimits(w io.Writer) {
	fmt.Fprintln(w, "\nLimits")
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, l := range r.Limits {
		verdict := "kept"
		switch {
		case !l.Found:
			verdict = "not measured"
		case !l.OK:
			verdict = "EXCEEDED"
		}
		value := "-"
		if l.Found {
			value = fmt.Sprintf("%.3g", l.Value)
		}
		fmt.Fprintf(tw, "  %s\t%s\tat most %.4g %s\t%s\n", l.What, value, l.Max, l.Unit, verdict)
	}
	_ = tw.Flush() // an error of w shows at the next write to it
}
