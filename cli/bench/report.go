package bench

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"time"
)

// Results of a load.
const (
	Pass         = "pass"         // every objective is met
	Missed       = "fail"         // one is not, or no request was answered as it should be
	Inconclusive = "inconclusive" // the load was not the one that was asked for
	NoObjective  = "no objective" // nothing was asked of the server
)

// Report is what a load showed. Latencies are in milliseconds.
type Report struct {
	At     time.Time `json:"at"`
	Target string    `json:"target"`
	Result string    `json:"result"`

	Loop        string  `json:"loop"` // open or closed
	Rate        float64 `json:"rate,omitempty"`
	Concurrency int     `json:"concurrency,omitempty"`
	ThinkMs     float64 `json:"thinkMs,omitempty"`
	Mix         string  `json:"mix"`
	Eras        []Era   `json:"eras"`
	Seconds     float64 `json:"seconds"` // that were measured
	Warmup      float64 `json:"warmupSeconds"`
	Interrupted bool    `json:"interrupted,omitempty"`

	Totals
	PerSecond    float64     `json:"answeredPerSecond"` // while the load was on
	MostInFlight int         `json:"mostInFlight"`
	Ops          []OpReport  `json:"requests"`
	Failures     []Failure   `json:"failures"`
	Objectives   []Objective `json:"objectives"`
	Generator    Generator   `json:"generator"`
	Notes        []string    `json:"notes,omitempty"`

	Curve    []Point `json:"curve"`    // latencies by percentile
	Timeline []Slot  `json:"timeline"` // what happened when
}

// Totals count requests.
type Totals struct {
	Sent         int64   `json:"sent"`
	Answered     int64   `json:"answered"`
	Errors       int64   `json:"errors"`
	ErrorPercent float64 `json:"errorPercent"`
	Latency      Latency `json:"latencyMs"`
}

// OpReport is of one kind of request.
type OpReport struct {
	Op   string `json:"kind"`
	Tool string `json:"tool,omitempty"` // one of those called; without it the whole kind
	Totals
}

// Latency is of requests that were answered well, and at least of those that waited in vain.
type Latency struct {
	Mean float64 `json:"mean"`
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Failure is requests that failed for one reason.
type Failure struct {
	Count   int64  `json:"count"`
	Kind    string `json:"kind"`
	Status  int    `json:"status,omitempty"` // of HTTP
	Code    int64  `json:"code,omitempty"`   // of JSON-RPC
	Limit   string `json:"limit,omitempty"`  // that refused it
	Example string `json:"example,omitempty"`
}

// Objective is what was expected, and whether it came true.
type Objective struct {
	Name     string `json:"objective"`
	Measured string `json:"measured"`
	Met      bool   `json:"met"`
}

// Generator is what the load generator says of itself.
type Generator struct {
	KeptUp  bool    `json:"keptUp"`
	Late    int64   `json:"late"`       // requests sent long after they were due by its own fault
	DelayMs float64 `json:"delayMsP99"` // of its own, which is part of the latencies
}

// Point is a latency that a share of all stays within.
type Point struct {
	Percentile float64 `json:"percentile"`
	Ms         float64 `json:"ms"`
}

// Slot is a stretch of the load. Latencies are of what was due in it.
type Slot struct {
	At              float64 `json:"at"` // seconds after the warm-up
	AnsweredPerSec  float64 `json:"answeredPerSecond"`
	ErrorsPerSecond float64 `json:"errorsPerSecond"`
	Due             int64   `json:"due"`
	P50             float64 `json:"p50Ms"`
	P99             float64 `json:"p99Ms"`
	Max             float64 `json:"maxMs"`
}

func (t *tally) totals() Totals {
	s := Totals{Sent: t.sent, Answered: t.answered, Errors: t.errs}
	if t.sent > 0 {
		s.ErrorPercent = 100 * float64(t.errs) / float64(t.sent)
	}
	h := t.latency
	s.Latency = Latency{
		Mean: round(h.Mean() / 1000), P50: h.at(0.5), P90: h.at(0.9), P99: h.at(0.99), P999: h.at(0.999), Max: float64(h.Max()) / 1000,
	}
	return s
}

func round(v float64) float64 { return math.Round(v*1000) / 1000 }

// report is of all that was recorded. Nobody records any more.
func (l *load) report(interrupted bool, queued time.Duration) *Report {
	o, rec := l.o, l.rec
	measured := o.Duration
	if interrupted {
		measured = max(min(time.Since(rec.from), o.Duration), 0)
	}
	r := &Report{
		At: rec.from.UTC(), Target: o.Target, Loop: "open", Rate: o.Rate, Concurrency: o.Concurrency, ThinkMs: float64(o.Think.Microseconds()) / 1000,
		Mix: l.p.mix.String(), Seconds: round(measured.Seconds()), Warmup: o.Warmup.Seconds(), Interrupted: interrupted,
		Totals: rec.all.totals(), MostInFlight: rec.most, Failures: rec.sorted(), Notes: l.p.notes, Curve: rec.all.curve(),
	}
	if o.Concurrency > 0 {
		r.Loop = "closed"
	}
	for _, modern := range l.p.eras {
		r.Eras = append(r.Eras, (&client{modern: modern}).era())
	}
	if measured > 0 {
		r.PerSecond = round(float64(rec.inTime) / measured.Seconds())
	}
	for op := range rec.ops {
		if rec.ops[op].sent > 0 {
			r.Ops = append(r.Ops, OpReport{Op(op).String(), "", rec.ops[op].totals()})
		}
		if Op(op) != Call {
			continue
		}
		for _, name := range slices.Sorted(maps.Keys(rec.tools)) {
			r.Ops = append(r.Ops, OpReport{Op(op).String(), name, rec.tools[name].totals()})
		}
	}
	r.timeline(rec, measured)
	r.generator(rec, queued)
	r.judge(o, &rec.all)
	return r
}

// curve is the latencies at percentiles that come closer and closer to 100.
func (t *tally) curve() []Point {
	const perDecade = 10
	points := []Point{}
	for i := 0; t.latency.TotalCount() > 0; i++ {
		rest := math.Pow(10, -float64(i)/perDecade) // the share beyond
		points = append(points, Point{math.Round(1e8*(1-rest)) / 1e6, t.latency.at(1 - rest)})
		if rest*float64(t.latency.TotalCount()) < 1 {
			break
		}
	}
	return points
}

func (r *Report) timeline(rec *recorder, measured time.Duration) {
	r.Timeline = []Slot{}
	for i := range rec.slots {
		s := &rec.slots[i]
		at := rec.width * time.Duration(i)
		width := rec.width
		if at < measured {
			width = min(width, measured-at) // the last one may be shorter
		}
		r.Timeline = append(r.Timeline, Slot{
			At: round(at.Seconds()), Due: s.latency.TotalCount(), P50: s.latency.at(0.5), P99: s.latency.at(0.99), Max: float64(s.latency.Max()) / 1000,
			AnsweredPerSec: round(float64(s.answered) / width.Seconds()), ErrorsPerSecond: round(float64(s.errors) / width.Seconds()),
		})
	}
}

const (
	lateShare  = 0.01 // of all requests, from which on the load was another
	delayShare = 0.1  // of the 99th percentile, from which on the own delay is worth a note
	delayLeast = 1.0  // milliseconds
)

// generator judges whether the load was the one that was asked for.
func (r *Report) generator(rec *recorder, queued time.Duration) {
	own := max(rec.own.at(0.99), float64(queued.Microseconds())/1000)
	g := Generator{KeptUp: float64(rec.late) <= lateShare*float64(rec.all.sent) && queued <= lateness, Late: rec.late, DelayMs: own}
	r.Generator = g
	switch {
	case !g.KeptUp:
		r.Notes = append(r.Notes, fmt.Sprintf("the load generator could not keep up (%d requests late by its own fault, own delay p99 %s): "+
			"the load was less than asked for, and the latencies are partly its own; ask for less, or give it more processors", g.Late, millis(own)))
	case own > delayLeast && own > delayShare*r.Latency.P99:
		r.Notes = append(r.Notes, fmt.Sprintf("up to %s of the latencies are the load generator's own (p99): it lacks processors", millis(own)))
	}
}

// within is the time within which the share q of all requests was answered, those included that were refused at once; ok is false
// when more than the rest of them failed. What the load left unsent or unanswered counts with its wait.
func (t *tally) within(q float64) (ms float64, ok bool) {
	if t.answered == 0 || float64(t.lost) > (1-q)*float64(t.sent) {
		return 0, false
	}
	return t.latency.at(min(1, q*float64(t.sent)/float64(t.latency.TotalCount()))), true
}

// judge compares with the objectives.
func (r *Report) judge(o *Options, all *tally) {
	r.Objectives = []Objective{}
	if o.P99 > 0 {
		objective := Objective{Name: "p99 at most " + o.P99.String(), Measured: percent(100*float64(all.lost)/float64(max(all.sent, 1))) + " failed"}
		if ms, ok := all.within(0.99); ok {
			objective.Measured, objective.Met = millis(ms), ms <= float64(o.P99.Microseconds())/1000
		}
		r.Objectives = append(r.Objectives, objective)
	}
	if o.MaxErrors != nil {
		r.Objectives = append(r.Objectives, Objective{
			fmt.Sprintf("errors at most %g %%", *o.MaxErrors), percent(r.ErrorPercent), r.Sent > 0 && r.ErrorPercent <= *o.MaxErrors,
		})
	}
	switch {
	case r.Sent > 0 && r.Answered == 0:
		r.Result = Missed
	case len(r.Objectives) > 0:
		r.Result = Pass
	default:
		r.Result = NoObjective
	}
	for _, objective := range r.Objectives {
		if !objective.Met {
			r.Result = Missed
		}
	}
	if r.Answered == 0 && !r.Interrupted {
		r.Result = Missed // whatever was asked for
	}
	if r.Result == Pass && (!r.Generator.KeptUp || r.Interrupted) {
		r.Result = Inconclusive
	}
}

// millis shows milliseconds with three digits or so.
func millis(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	switch {
	case d >= 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d >= time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 100*time.Millisecond:
		return d.Round(time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(100 * time.Microsecond).String()
	case d >= time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Microsecond).String()
}

func percent(v float64) string { return strconv.FormatFloat(round(v), 'f', -1, 64) + " %" }
