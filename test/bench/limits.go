package main

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

// bound is a limit the product is held to by -check.
type bound struct {
	What  string  `json:"what"`
	Max   float64 `json:"max"`
	Unit  string  `json:"unit"`
	Value float64 `json:"value"`
	Found bool    `json:"found"` // false when it was not measured
	OK    bool    `json:"ok"`

	value func(*report) (float64, bool)
}

// limits is the table of what is promised. Ratios are CPU a call to that of
// the bare proxy in the same round, their median.
func limits() []bound {
	return []bound{
		{What: "small call, modern → modern", Max: 0.8, Unit: "× bare", value: ratio("call-mm")},
		{What: "small call, legacy → legacy", Max: 0.8, Unit: "× bare", value: ratio("call-ll")},
		{What: "64 KiB answer, modern → modern", Max: 0.9, Unit: "× bare", value: ratio("big-mm")},
		{What: "64 KiB answer, legacy → legacy", Max: 0.9, Unit: "× bare", value: ratio("big-ll")},
		{What: "list of 100 tools, modern", Max: 0.5, Unit: "× bare", value: ratio("list100-mm")},
		{What: "list of 100 tools, legacy", Max: 0.5, Unit: "× bare", value: ratio("list100-ll")},
		{What: "list of 2,500 tools, modern", Max: 0.7, Unit: "× bare", value: ratio("list2500-mm")},
		{What: "list of 2,500 tools, legacy", Max: 0.7, Unit: "× bare", value: ratio("list2500-ll")},
		{What: "list of 1,000 tools of 100 servers", Max: 1000, Unit: "µs CPU", value: listCPU},
		{What: "everything on, small call, modern", Max: 0.15, Unit: "× bare more", value: onMore("access-mm")},
		{What: "everything on, small call, legacy", Max: 0.15, Unit: "× bare more", value: onMore("access-ll")},
		{What: "10,000 grants, small call, modern", Max: 1.05, Unit: "× 10 grants", value: grantsMore("grants-mm")},
		{What: "10,000 grants, small call, legacy", Max: 1.05, Unit: "× 10 grants", value: grantsMore("grants-ll")},
		{What: "limits and cache on, small call, modern", Max: 0.05, Unit: "× bare more", value: onMore("calm-mm")},
		{What: "limits and cache on, small call, legacy", Max: 0.05, Unit: "× bare more", value: onMore("calm-ll")},
		{What: "1 % traced and calls logged, small call, modern", Max: 0.05, Unit: "× bare more", value: onMore("traced-mm")},
		{What: "1 % traced and calls logged, small call, legacy", Max: 0.05, Unit: "× bare more", value: onMore("traced-ll")},
		{What: "all traced, small call, modern", Max: 0.4, Unit: "× bare more", value: onMore("tracedall-mm")},
		{What: "all traced, small call, legacy", Max: 0.4, Unit: "× bare more", value: onMore("tracedall-ll")},
		{What: "p99 of 19 servers while the 20th hangs", Max: 1.2, Unit: "× before", value: once("slowone-ratio")},
		{What: "list of 20 servers while one hangs", Max: 1000, Unit: "ms", value: once("slowone-list-ms")},
		{What: "small call over stdio", Max: 0.7, Unit: "× bare", value: ratio("stdio-")},
		{What: "small call over stdio, one client", Max: 1, Unit: "× bare", value: ratio("stdio1-")},
		{What: "64 KiB answer over stdio", Max: 1.4, Unit: "× bare", value: ratio("stdiobig-")},
		{What: "growth with 100 processes of sessions", Max: 10, Unit: "MiB", value: once("instances-mib")},
		{What: "handing over a process that waits", Max: 1, Unit: "ms", value: once("handover-ms")},
		{What: "framing 16 MiB", Max: 10, Unit: "× a copy", value: once("framing-ratio")},
		{What: "upstream requests per call", Max: 1, Unit: "requests", value: perCallUpstream},
		{What: "new connections in steady state", Max: 0, Unit: "connections", value: newConnections},
		{What: "resident memory, idle", Max: 30, Unit: "MiB", value: once("idle-rss-mib")},
		{What: "exec → ready", Max: 100, Unit: "ms", value: once("ready-ms")},
		{What: "exec → first full list of 100 servers", Max: 200, Unit: "ms", value: once("first-list-ms")},
		{What: "growth with legacy sessions held", Max: 4, Unit: "MiB", value: once("sessions-mib")},
		{What: "of that left after DELETE", Max: 1, Unit: "MiB", value: once("sessions-left-mib")},
		{What: "call that asks once, modern → legacy", Max: 3, Unit: "× two calls", value: once("ask-ratio")},
		{What: "resident memory for each parked call", Max: 32, Unit: "KiB", value: once("parked-kib")},
		{What: "resident memory for each listen stream", Max: 32, Unit: "KiB", value: once("stream-kib")},
		{What: "goroutines for each listen stream", Max: 2, Unit: "goroutines", value: once("stream-goroutines")},
		{What: "a change told to all listen streams", Max: 1, Unit: "s CPU", value: once("change-cpu-s")},
		{What: "listen stream opened and closed", Max: 3, Unit: "× a call", value: once("listen-ratio")},
		{What: "list of 2,500 tools, new principal", Max: 2, Unit: "ms CPU", value: once("filter-new-ms")},
		{What: "list of 2,500 tools, known principal", Max: 0.5, Unit: "ms CPU", value: once("filter-known-ms")},
		{What: "answered calls without their record", Max: 0, Unit: "calls", value: once("audit-lost")},
		{What: "audit records out of order", Max: 0, Unit: "records", value: once("audit-disorder")},
	}
}

// judge fills in the limits of a report.
func (r *report) judge() {
	r.Limits = limits()
	for i := range r.Limits {
		l := &r.Limits[i]
		l.Value, l.Found = l.value(r)
		l.OK = !l.Found || l.Value <= l.Max
	}
	for _, t := range r.Tables {
		for _, l := range t.Lines {
			peer := l.Label == superGateway || l.Label == mcpProxy // whose errors stand in the table
			if n := l.errors(); n > 0 && !peer {
				r.Errors = append(r.Errors, fmt.Sprintf("%s, %s: %d errors: %s", t.Title, l.Label, n, l.firstError()))
			}
		}
	}
}

func (r *report) exceeded() []string {
	var all []string
	for _, l := range r.Limits {
		if !l.OK {
			all = append(all, fmt.Sprintf("%s: %.3g %s, at most %.3g", l.What, l.Value, l.Unit, l.Max))
		}
	}
	return all
}

func (r *report) table(name string) *table {
	i := slices.IndexFunc(r.Tables, func(t *table) bool { return t.Name == name })
	if i < 0 {
		return &table{}
	}
	return r.Tables[i]
}

// ours are the lines of the gateway without authentication, whichever command started it.
func (t *table) ours() []*line {
	var all []*line
	for _, l := range t.Lines {
		if strings.HasPrefix(l.Label, "gateway") && l.Label != withKey("").label {
			all = append(all, l)
		}
	}
	return all
}

// ratio is the worst of the gateway's endpoints in the tables whose names begin so.
func ratio(name string) func(*report) (float64, bool) {
	return func(r *report) (worst float64, found bool) {
		for _, t := range r.Tables {
			if !strings.HasPrefix(t.Name, name) {
				continue
			}
			for _, l := range t.ours() {
				if len(l.Ratios) > 0 {
					worst, found = max(worst, spreadOf(l.Ratios).mid), true
				}
			}
		}
		return worst, found
	}
}

// roundly is what f makes of two lines' values, round by round.
func roundly(a, b []float64, f func(a, b float64) float64) []float64 {
	all := make([]float64, min(len(a), len(b)))
	for i := range all {
		all[i] = f(a[i], b[i])
	}
	return all
}

// onMore is how much more of the bare proxy's CPU a call takes with everything on: the median of all rounds, and what is done for calls
// when none is under way, such as sending traces. It is the mean of the endpoints.
func onMore(name string) func(*report) (float64, bool) {
	return func(r *report) (float64, bool) {
		t := r.table(name)
		bare := t.line("bare").of((*sample).perCall).mid
		sum, endpoints := 0.0, 0
		for _, off := range t.Lines {
			on := t.line(onLabel(off.Label))
			if all := roundly(on.Ratios, off.Ratios, func(on, off float64) float64 { return on - off }); len(all) > 0 {
				sum += spreadOf(all).mid + (on.restPerCall()-off.restPerCall())/bare
				endpoints++
			}
		}
		return sum / float64(max(endpoints, 1)), endpoints > 0
	}
}

// restPerCall is the CPU between measurements, in µs for each call of them.
func (l *line) restPerCall() float64 {
	var rest time.Duration
	calls := 0
	for _, s := range l.Samples {
		rest, calls = rest+s.Rest, calls+s.Calls
	}
	return float64(rest.Microseconds()) / float64(max(calls, 1))
}

// grantsMore is the CPU with many grants to that with few.
func grantsMore(name string) func(*report) (float64, bool) {
	return func(r *report) (float64, bool) {
		t := r.table(name)
		all := roundly(t.line(labelMany).Ratios, t.line(labelFew).Ratios, func(many, few float64) float64 { return many / few })
		return spreadOf(all).mid, len(all) > 0
	}
}

// line is a line by its label, without samples where there is none.
func (t *table) line(label string) *line {
	for _, l := range t.Lines {
		if l.Label == label {
			return l
		}
	}
	return &line{}
}

func listCPU(r *report) (worst float64, found bool) {
	for _, l := range r.table("list1000").ours() {
		cpu := l.of((*sample).perCall).mid
		worst, found = max(worst, cpu), found || cpu > 0
	}
	return worst, found
}

// eachHTTPCall calls f for the gateway's lines of tools/call to HTTP servers.
func (r *report) eachHTTPCall(f func(*line)) {
	for _, t := range r.Tables {
		if strings.HasPrefix(t.Name, "call-") || strings.HasPrefix(t.Name, "big-") {
			for _, l := range t.ours() {
				f(l)
			}
		}
	}
}

func perCallUpstream(r *report) (worst float64, found bool) {
	r.eachHTTPCall(func(l *line) {
		worst, found = max(worst, l.of((*sample).requestsPerCall).mid), true
	})
	return worst, found
}

func newConnections(r *report) (worst float64, found bool) {
	r.eachHTTPCall(func(l *line) {
		worst, found = max(worst, l.of(func(s *sample) float64 { return float64(s.Conns) }).mid), true
	})
	return worst, found
}

// requestsPerCall is rounded to thousandths: a stray request in a round, as
// for a list that went stale, is none for each call.
func (s *sample) requestsPerCall() float64 {
	if s.Calls == 0 {
		return 0
	}
	return math.Round(1000*float64(s.Requests)/float64(s.Calls)) / 1000
}

func once(name string) func(*report) (float64, bool) {
	return func(r *report) (float64, bool) {
		for _, f := range r.Figures {
			if f.Name == name {
				return spreadOf(f.Values).mid, true
			}
		}
		return 0, false
	}
}

func (l *line) errors() int {
	n := 0
	for _, s := range l.Samples {
		n += s.Errors
	}
	return n
}

func (l *line) firstError() string {
	for _, s := range l.Samples {
		if s.Error != "" {
			return s.Error
		}
	}
	return ""
}
