package testenv

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	collect "go.opentelemetry.io/proto/slim/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	spans "go.opentelemetry.io/proto/slim/otlp/trace/v1"
	"google.golang.org/protobuf/proto"
)

// Spans takes traces as a collector does, over HTTP.
type Spans struct {
	// URL is where it listens.
	URL string

	mu      sync.Mutex
	all     []Span
	headers []http.Header
	refuse  int
	hold    chan struct{}
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
	srv := httptest.NewServer(s)
	s.URL = srv.URL
	t.Cleanup(func() {
		s.Hold(false)
		srv.Close()
	})
	return s
}

// Refuse has every export answered with a status and a long text from now on; 0 takes them again.
func (s *Spans) Refuse(status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse = status
}

// Hold has exports left without an answer, or answers them.
func (s *Spans) Hold(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.hold != nil {
		close(s.hold)
		s.hold = nil
	}
	if on {
		s.hold = make(chan struct{})
	}
}

// ServeHTTP implements http.Handler.
func (s *Spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var q collect.ExportTraceServiceRequest
	if err != nil || r.URL.Path != "/v1/traces" || proto.Unmarshal(body, &q) != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	s.mu.Lock()
	refuse, hold := s.refuse, s.hold
	s.headers = append(s.headers, r.Header)
	s.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-r.Context().Done():
			return
		}
	}
	if refuse != 0 {
		w.WriteHeader(refuse)
		_, _ = w.Write(make([]byte, 1<<20)) // a refusal may say as much as it likes
		return
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

// Headers are those of the exports that came.
func (s *Spans) Headers() []http.Header {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]http.Header(nil), s.headers...)
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
