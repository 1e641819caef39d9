package telemetry

import (
	"log/slog"
	"math/rand/v2"
	"net/http"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	oteltrace "go.opentelemetry.io/otel/trace"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/trace"
)

const (
	stateMost   = 512  // bytes of a tracestate, as W3C has it
	baggageMost = 8192 // bytes of baggage, as W3C has it
	flushTime   = 5 * time.Second
)

// Tracer notes what becomes of requests and sends traces of some: of a share of them, of those whose client says so, and of those that
// failed or were slow. What a request costs before that is decided is a few ids and times. A nil Tracer traces nothing.
type Tracer struct {
	version, instance string

	log     *slog.Logger
	now     atomic.Pointer[tracing] // nil while there are no traces
	records sync.Pool
	counts  traceCounts

	mu     sync.Mutex // one Configure at a time
	was    v1.Telemetry
	ending sync.WaitGroup
}

// traceCounts is what metrics tell of traces.
type traceCounts struct {
	kept                      [numReasons]atomic.Int64
	exported, failed, dropped atomic.Int64
}

// Reason is why a request is traced.
type Reason uint8

// The reasons. Over is for one that would be traced because it failed or was slow, but there are too many of those.
const (
	NotKept Reason = iota
	Sampled
	Failed
	Slow
	Over
	numReasons
)

var reasonNames = [numReasons]string{Sampled: "sampled", Failed: "failed", Slow: "slow", Over: "over"}

// String is the reason as metrics and traces have it.
func (r Reason) String() string { return reasonNames[r] }

// tracing is what a configuration says of traces.
type tracing struct {
	threshold uint64 // of random numbers, below which a request is sampled
	all       bool
	follow    bool
	slow      time.Duration
	most      uint32
	late      atomic.Uint64 // the second, and how many were kept in it because they failed or were slow
	baggage   bool
	out       *pipeline
}

// NewTracer makes a tracer that traces nothing before it is configured. Instance tells this process from others of its kind.
func NewTracer(version, instance string, log *slog.Logger) *Tracer {
	t := &Tracer{version: version, instance: instance, log: log}
	t.records.New = func() any { return new(trace.Record) }
	return t
}

// Configure has the tracer go by a configuration. What waits to be sent by the old one still is.
func (t *Tracer) Configure(c *v1.Telemetry) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if reflect.DeepEqual(t.was, *c) {
		return nil
	}
	var next *tracing
	if c.On() {
		out, err := newPipeline(c, t)
		if err != nil {
			return err
		}
		next = newTracing(&c.Traces, out)
	}
	t.was = *c
	if old := t.now.Swap(next); old != nil {
		t.ending.Go(func() { old.out.close(flushTime) })
	}
	return nil
}

func newTracing(c *v1.Traces, out *pipeline) *tracing {
	return &tracing{
		threshold: uint64(c.Sample.Of() * (1 << 63)), all: c.Sample.Of() >= 1, follow: c.Parent != v1.ParentOwn,
		slow: c.Slow.D(), most: uint32(c.Kept), baggage: c.Baggage, out: out,
	}
}

// Close sends what waits, for a few seconds at most.
func (t *Tracer) Close() {
	_ = t.Configure(&v1.Telemetry{}) // which opens nothing
	t.ending.Wait()
}

// Begin begins the record of a request that came at start with a header; nil while there are no traces.
func (t *Tracer) Begin(h http.Header, start time.Time) *trace.Record {
	if t == nil {
		return nil
	}
	now := t.now.Load()
	if now == nil {
		return nil
	}
	r := t.record()
	r.Start = start
	if v := h["Traceparent"]; len(v) == 1 {
		if c, ok := trace.Parse(v[0]); ok {
			c.State = state(strings.Join(h["Tracestate"], ","))
			now.join(r, c)
		}
	}
	if !r.Valid() {
		r.Trace, r.Sampled = trace.NewID(), now.samples()
		r.Span = trace.NewSpanID()
	}
	if now.baggage {
		r.Baggage = baggage(strings.Join(h["Baggage"], ","))
	}
	return r
}

// Continue begins the record of what another replica handed over at start, which decided whether it is traced.
func (t *Tracer) Continue(c trace.Context, baggage string, start time.Time) *trace.Record {
	if t == nil || !c.Valid() || t.now.Load() == nil {
		return nil
	}
	r := t.record()
	r.Start, r.Context, r.Parent, r.Read, r.Baggage = start, c, c.Span, true, baggage
	r.Span = trace.NewSpanID()
	return r
}

func (t *Tracer) record() *trace.Record {
	r, _ := t.records.Get().(*trace.Record)
	return r
}

// Read has a record go by the context that the message has in it, which counts more than that of the header.
func (t *Tracer) Read(r *trace.Record, parent, tracestate []byte) {
	now := t.now.Load()
	if r.Read = true; now == nil || len(parent) == 0 {
		return
	}
	c, ok := trace.Parse(parent)
	if !ok {
		return
	}
	if around := (trace.Context{Trace: r.Trace, Span: r.Parent, Sampled: r.Sampled}); around.Valid() && (c.Trace != around.Trace || c.Span != around.Span) {
		r.Around = around
	}
	c.State = state(string(tracestate))
	now.join(r, c)
}

// join makes a request part of its client's trace.
func (now *tracing) join(r *trace.Record, c trace.Context) {
	r.Context, r.Parent = c, c.Span
	r.Span = trace.NewSpanID()
	if !now.follow {
		r.Sampled = now.samples()
	}
}

// samples decides by chance.
func (now *tracing) samples() bool {
	return now.all || rand.Uint64()>>1 < now.threshold //nolint:gosec // nobody gains from guessing it
}

// state is a tracestate that may be handed on; empty where it is not valid.
func state(text string) string {
	if text == "" || len(text) > stateMost {
		return ""
	}
	s, err := oteltrace.ParseTraceState(text)
	if err != nil {
		return ""
	}
	return s.String()
}

// baggage is baggage that may be handed on: text of a header, of a bounded size.
func baggage(text string) string {
	if len(text) > baggageMost || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }) {
		return ""
	}
	return text
}

// Keeps decides in the end whether a request is traced, and why.
func (t *Tracer) Keeps(r *trace.Record, failed bool, took time.Duration) Reason {
	now := t.now.Load()
	if now == nil {
		return NotKept
	}
	var why Reason
	switch {
	case r.Sampled:
		why = Sampled
	case failed:
		why = Failed
	case took >= now.slow:
		why = Slow
	default:
		return NotKept
	}
	if why != Sampled && !now.room() {
		why = Over
	}
	t.counts.kept[why].Add(1)
	if why == Over {
		return NotKept
	}
	return why
}

// room tells whether one more request may be traced in this second because it failed or was slow.
func (now *tracing) room() bool {
	second := uint64(time.Now().Unix()) << 32
	for {
		was := now.late.Load()
		next := was + 1
		if was&^(1<<32-1) != second {
			next = second + 1
		}
		if uint32(next) > now.most {
			return false
		}
		if now.late.CompareAndSwap(was, next) {
			return true
		}
	}
}

// Drop forgets a record.
func (t *Tracer) Drop(r *trace.Record) {
	r.Reset()
	t.records.Put(r)
}

// TellErrand sends the spans of what was sent for a request that was over before, where that is traced.
func (t *Tracer) TellErrand(e *trace.Errand) {
	if now := t.now.Load(); now != nil && e.Record().Sampled {
		now.out.tellErrand(e)
	}
}

// Tell sends the spans of a request that is traced.
func (t *Tracer) Tell(r *trace.Record, s *Span) {
	if now := t.now.Load(); now != nil {
		now.out.tell(r, s)
	}
}
