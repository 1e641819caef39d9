package cli

import (
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"unicode/utf8"
)

// step is a line of the picture: something that began at a time and took some.
type step struct {
	name     string
	at, took float64
}

const (
	barWidth   = 48
	nameWidth  = 34 // at least
	stageNamed = "  "
	innerNamed = "    "
)

// traceText draws a line for each step, and adds up who took what.
func traceText(w io.Writer, r *tracedReply) error {
	server := ""
	if r.Timing.Server != "" {
		server = " of server " + strconv.Quote(printable(r.Timing.Server))
	}
	_, _ = fmt.Fprintf(w, "%s%s: %s in %s, trace %s\n\n", printable(r.Tool), server, printable(r.Outcome), lasting(r.Total), printable(r.Trace))
	steps, width := r.steps(), nameWidth
	for i := range steps {
		steps[i].name = clipped(printable(steps[i].name))
		width = max(width, utf8.RuneCountInString(steps[i].name))
	}
	for _, s := range steps { // the width counts characters
		_, _ = fmt.Fprintf(w, "%-*s %10s  %s\n", width, s.name, lasting(s.took), strings.TrimRight(bar(s, r.Total), " "))
	}
	_, _ = fmt.Fprintln(w)
	for _, s := range r.sums() {
		_, _ = fmt.Fprintf(w, "%-*s %10s  %3.0f%%\n", width, s.name, lasting(s.took), 100*s.took/max(r.Total, 1e-9))
	}
	if r.Timing.Cache == "" {
		return nil
	}
	_, err := fmt.Fprintf(w, "\nthe cache: %s\n", printable(r.Timing.Cache))
	return err
}

// steps are in the order in which they began. The gateway's clock is not the client's: what the call took beyond it is the way there
// and the way back, half and half.
func (r *tracedReply) steps() []step {
	t := r.Timing
	var all []step
	at := 0.0
	for _, s := range []step{{"look up the gateway's name", 0, r.Lookup}, {"connect", 0, r.Connect}, {"TLS", 0, r.TLS}} {
		if s.took > 0 {
			s.at = at
			at += s.took
			all = append(all, s)
		}
	}
	zero := r.zero()
	all = append(all, step{"send", at, max(0, zero-at)}, step{"gateway", zero, t.Took})
	for _, s := range r.stages() {
		all = append(all, step{stageNamed + s.name, zero + s.at, s.took})
		all = append(all, r.inside(s.at, s.at+s.took, zero)...)
	}
	return append(all, step{"receive", zero + t.Took, max(0, r.Total-zero-t.Took)})
}

// stages are those of the gateway; neighbours that took next to nothing are one line.
func (r *tracedReply) stages() []step {
	var all []step
	first, folded := "", false
	for _, s := range r.Timing.Stages {
		tiny := s.Took < r.Total/100
		if tiny && folded {
			last := &all[len(all)-1]
			last.name, last.took = first+" … "+s.Name, last.took+s.Took
			continue
		}
		all = append(all, step{s.Name, s.At, s.Took})
		first, folded = s.Name, tiny
	}
	return all
}

// zero is when the gateway had the head of the request.
func (r *tracedReply) zero() float64 { return r.Sent + max(0, r.Total-r.Sent-r.Timing.Took)/2 }

// inside are the steps of a stage: what was waited for before the first attempt that it made, and its attempts.
func (r *tracedReply) inside(from, until, zero float64) []step {
	t := r.Timing
	var all []step
	for i := range t.Attempts {
		a := &t.Attempts[i]
		if a.At < from || a.At >= until {
			continue
		}
		if i == 0 {
			all = append(all, r.waits(zero+a.At)...)
		}
		where := "process"
		switch {
		case a.Replica != "":
			where = "replica " + a.Replica
		case a.Host != "":
			where = net.JoinHostPort(a.Host, strconv.Itoa(a.Port))
		}
		name := innerNamed + "server, " + where
		switch {
		case a.Awaits:
			name = innerNamed + a.Method + " of " + a.Server + ", which another request asks for"
		case a.Method != "":
			name += ", " + a.Method + " of " + a.Server
		}
		if a.Failed != "" {
			name += " (" + a.Failed + ")"
		}
		all = append(all, step{name, zero + a.At, a.Took})
		if a.Connect > 0 {
			all = append(all, step{innerNamed + "  connect", zero + a.At, a.Connect})
		}
		if a.Answer > 0 && a.Took-a.Answer > a.Took/100 {
			all = append(all, step{innerNamed + "  receive", zero + a.At + a.Answer, a.Took - a.Answer})
		}
	}
	return all
}

// waits are what came before the first attempt.
func (r *tracedReply) waits(first float64) []step {
	var all []step
	for _, s := range []step{
		{innerNamed + "queue", first - r.Timing.Start - r.Timing.Queue, r.Timing.Queue},
		{innerNamed + "start", first - r.Timing.Start, r.Timing.Start},
	} {
		if s.took > 0 {
			all = append(all, s)
		}
	}
	return all
}

// sums are who took what of the whole.
func (r *tracedReply) sums() []step {
	t := r.Timing
	return []step{
		{"network, client to gateway", 0, max(0, r.Total-t.Took)},
		{"gateway", 0, max(0, t.Took-t.Queue-t.Start-t.AtServer)},
		{"queue", 0, t.Queue},
		{"start", 0, t.Start},
		{"server, and the way to it", 0, t.AtServer},
	}
}

// bar is a step at its place in the whole.
func bar(s step, total float64) string {
	if total <= 0 {
		return ""
	}
	cell := func(t float64) int { return min(barWidth, max(0, int(t/total*barWidth+0.5))) }
	from, to := min(cell(s.at), barWidth-1), cell(s.at+s.took)
	if to <= from {
		return strings.Repeat(" ", from) + "▏"
	}
	return strings.Repeat(" ", from) + strings.Repeat("█", to-from)
}

// lasting is a time as people read it.
func lasting(seconds float64) string {
	switch {
	case seconds >= 1:
		return strconv.FormatFloat(seconds, 'f', 2, 64) + " s"
	case seconds >= 1e-3:
		return strconv.FormatFloat(seconds*1e3, 'f', 1, 64) + " ms"
	}
	return strconv.FormatFloat(seconds*1e6, 'f', 0, 64) + " µs"
}
