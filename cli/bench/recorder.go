package bench

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	longest  = int64(48 * time.Hour / time.Microsecond) // longer than any load
	slotMost = 300                                      // stretches of time that are told apart
	toolMost = 50                                       // tools that are told apart
	kindMost = 64                                       // of failures
)

// histogram keeps latencies in microseconds, each known to three digits or two.
type histogram struct{ *hdrhistogram.Histogram }

func newHistogram(digits int) histogram { return histogram{hdrhistogram.New(1, longest, digits)} }

func (h histogram) add(d time.Duration, n int64) {
	_ = h.RecordValues(min(max(d.Microseconds(), 1), longest), n) // it is within its bounds
}

// at is the latency that the share q of all stays within, in milliseconds.
func (h histogram) at(q float64) float64 {
	return float64(max(h.ValueAtQuantile(q*100), h.Min())) / 1000
}

// slot is a stretch of the load.
type slot struct {
	latency  histogram // of what was due in it
	answered int64     // within it
	errors   int64
}

// tally is what is counted of one kind of request, or of all.
type tally struct {
	latency        histogram
	sent           int64
	answered, errs int64
	lost           int64 // of the errors, those that are the server's
}

func (t *tally) count(took time.Duration, n int64, f *fault) {
	t.sent += n
	if f == nil {
		t.answered += n
	} else {
		t.errs += n
		if f.kind != FailedUnsent && f.kind != FailedUnanswered {
			t.lost += n
		}
	}
	if f == nil || f.waited() {
		t.latency.add(took, n)
	}
}

// recorder counts what becomes of requests. What was due before from is not counted.
type recorder struct {
	from, to time.Time
	width    time.Duration // of a slot

	mu       sync.Mutex
	all      tally
	ops      [numOps]tally
	tools    map[string]*tally // of calls
	slots    []slot
	failures map[failureKey]*Failure
	own      histogram // what the generator itself was late
	inTime   int64     // answered before the load ended
	late     int64     // sent so late that the load was another
	inFlight int
	most     int // in flight at once
}

func newRecorder(from time.Time, duration time.Duration) *recorder {
	r := &recorder{from: from, to: from.Add(duration), failures: map[failureKey]*Failure{}, tools: map[string]*tally{}}
	r.width = max(time.Second, (duration+slotMost-1)/slotMost).Round(time.Second)
	if duration < 20*time.Second {
		r.width = max(duration/20, time.Millisecond)
	}
	r.all.latency, r.own = newHistogram(3), newHistogram(3)
	for op := range r.ops {
		r.ops[op].latency = newHistogram(3)
	}
	return r
}

// lateness is by how much a request may be late before the load is not the one that was asked for.
const lateness = 50 * time.Millisecond

// begin notes that a request is on its way, own after it could have been.
func (r *recorder) begin(due time.Time, own time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight++
	if due.Before(r.from) {
		return
	}
	r.most = max(r.most, r.inFlight)
	r.own.add(own, 1)
	if own > lateness {
		r.late++
	}
}

// end notes what became of it.
func (r *recorder) end(what *request, due, now time.Time, f *fault) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.inFlight--
	r.count(what, due, now, 1, f)
}

// unsent notes requests that did not get their turn, perhaps by own fault.
func (r *recorder) unsent(what *request, due, now time.Time, n int64, own bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if own {
		r.late += n
		r.count(what, due, now, n, failed(FailedUnsent, "the load generator had not come to it when the load ended"))
		return
	}
	r.count(what, due, now, n, failed(FailedUnsent, "as many as can be were in flight until the load ended"))
}

func (r *recorder) count(what *request, due, now time.Time, n int64, f *fault) {
	if due.Before(r.from) {
		return
	}
	took := now.Sub(due)
	r.all.count(took, n, f)
	r.ops[what.op].count(took, n, f)
	if t := r.tool(what.name); t != nil {
		t.count(took, n, f)
	}
	if s := r.slot(due); s != nil && (f == nil || f.waited()) {
		s.latency.add(took, n)
	}
	if f != nil {
		r.fail(f, n)
	} else if !now.After(r.to) {
		r.inTime += n
	}
	switch s := r.slot(now); {
	case s == nil:
	case f == nil:
		s.answered += n
	default:
		s.errors += n
	}
}

// tool counts the calls of one tool; nil for no tool, and for those beyond the first.
func (r *recorder) tool(name string) *tally {
	t := r.tools[name]
	if t == nil && name != "" && len(r.tools) < toolMost {
		t = &tally{latency: newHistogram(3)}
		r.tools[name] = t
	}
	return t
}

// slot is the stretch of a time; nil for one long after the load.
func (r *recorder) slot(t time.Time) *slot {
	i := int(t.Sub(r.from) / r.width)
	if i >= 2*slotMost {
		return nil
	}
	for len(r.slots) <= i {
		r.slots = append(r.slots, slot{latency: newHistogram(2)})
	}
	return &r.slots[i]
}

func (r *recorder) fail(f *fault, n int64) {
	known := r.failures[f.failureKey]
	if known == nil {
		if len(r.failures) >= kindMost {
			f = &fault{failureKey: failureKey{kind: "other"}, example: f.example}
		}
		if known = r.failures[f.failureKey]; known == nil {
			known = &Failure{Kind: f.kind, Status: f.status, Code: f.code, Limit: f.limit, Example: f.example}
			r.failures[f.failureKey] = known
		}
	}
	known.Count += n
}

// sorted is the failures, the most frequent first.
func (r *recorder) sorted() []Failure {
	list := make([]Failure, 0, len(r.failures))
	for f := range maps.Values(r.failures) {
		list = append(list, *f)
	}
	slices.SortFunc(list, func(a, b Failure) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.name(), b.name()))
	})
	return list
}

// name is what a failure goes by.
func (k failureKey) name() string {
	return (&Failure{Kind: k.kind, Status: k.status, Code: k.code, Limit: k.limit}).name()
}

func (f *Failure) name() string {
	var parts []string
	if f.Status != 0 {
		parts = append(parts, "HTTP "+strconv.Itoa(f.Status))
	}
	switch f.Kind {
	case FailedStatus:
	case FailedCode:
		parts = append(parts, "JSON-RPC error "+strconv.FormatInt(f.Code, 10))
	default:
		parts = append(parts, f.Kind)
	}
	if f.Limit != "" {
		parts = append(parts, "limit "+strconv.Quote(f.Limit))
	}
	return strings.Join(parts, ", ")
}

// progress is how it stands.
func (r *recorder) progress(now time.Time) Progress {
	r.mu.Lock()
	defer r.mu.Unlock()
	return Progress{
		Elapsed: now.Sub(r.from), Answered: r.all.answered, Errors: r.all.errs, InFlight: r.inFlight,
		P50: r.all.latency.at(0.5), P99: r.all.latency.at(0.99),
	}
}
