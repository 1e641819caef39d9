package testenv

import (
	"encoding/hex"
	"strconv"
	"sync"
	"testing"
	"time"

	collect "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	spans "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Spans takes traces as a collector does.
type Spans struct {
	*Exports

	mu  sync.Mutex
	all []Span
}

// Span is a span that arrived.
type Span struct {
	Name, Kind          string // server, client, internal
	Trace, ID, Parent   string
	State               string
	Start, End          time.Time
	Failed              bool
	Message             string
	Attributes, Service map[string]string
	Events              []string
	Links               []string // trace-span
}

// TakeSpans starts to take traces until the test ends.
func TakeSpans(t testing.TB) *Spans {
	t.Helper()
	s := &Spans{}
	s.Exports = TakeExports(t, "traces", s.take)
	return s
}

func (s *Spans) take(message []byte) error {
	var q collect.ExportTraceServiceRequest
	if err := proto.Unmarshal(message, &q); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rs := range q.GetResourceSpans() {
		service := attributes(rs.GetResource().GetAttributes())
		for _, ss := range rs.GetScopeSpans() {
			for _, span := range ss.GetSpans() {
				s.all = append(s.all, spanOf(span, service))
			}
		}
	}
	return nil
}

func spanOf(p *spans.Span, service map[string]string) Span {
	out := Span{
		Name: p.GetName(), Trace: hex.EncodeToString(p.GetTraceId()), ID: hex.EncodeToString(p.GetSpanId()), Parent: hex.EncodeToString(p.GetParentSpanId()),
		State: p.GetTraceState(), Start: moment(p.GetStartTimeUnixNano()), End: moment(p.GetEndTimeUnixNano()),
		Failed: p.GetStatus().GetCode() == spans.Status_STATUS_CODE_ERROR, Message: p.GetStatus().GetMessage(),
		Attributes: attributes(p.GetAttributes()), Service: service,
	}
	switch p.GetKind() {
	case spans.Span_SPAN_KIND_SERVER:
		out.Kind = "server"
	case spans.Span_SPAN_KIND_CLIENT:
		out.Kind = "client"
	case spans.Span_SPAN_KIND_INTERNAL:
		out.Kind = "internal"
	}
	for _, e := range p.GetEvents() {
		out.Events = append(out.Events, e.GetName())
	}
	for _, l := range p.GetLinks() {
		out.Links = append(out.Links, hex.EncodeToString(l.GetTraceId())+"-"+hex.EncodeToString(l.GetSpanId()))
	}
	return out
}

func moment(nanos uint64) time.Time { return time.Unix(0, int64(nanos)) }

func attributes(list []*common.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range list {
		switch v := a.GetValue().GetValue().(type) {
		case *common.AnyValue_StringValue:
			all[a.GetKey()] = v.StringValue
		case *common.AnyValue_IntValue:
			all[a.GetKey()] = strconv.FormatInt(v.IntValue, 10)
		case *common.AnyValue_DoubleValue:
			all[a.GetKey()] = strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
		}
	}
	return all
}

// All are the spans that arrived, those that fit.
func (s *Spans) All(fits func(Span) bool) (found []Span) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, span := range s.all {
		if fits == nil || fits(span) {
			found = append(found, span)
		}
	}
	return found
}

// Await waits for n spans of a trace and returns them.
func (s *Spans) Await(t testing.TB, trace string, n int) []Span {
	t.Helper()
	var got []Span
	of := func(span Span) bool { return span.Trace == trace }
	Eventually(t, strconv.Itoa(n)+" spans of trace "+trace, func() bool {
		got = s.All(of)
		return len(got) >= n
	})
	return got
}
