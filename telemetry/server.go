package telemetry

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	maxTools      = 2000 // a server, then tool="_other"
	maxErrorTypes = 32   // a server, then error_type="_other": servers choose their codes
	maxStates     = 16   // a server
	maxLabel      = 128  // bytes
)

// server is what the series of one server share.
type server struct {
	metrics *Metrics
	name    string

	mu         sync.Mutex
	tools      map[string]*Tool
	errorTypes map[string]bool
	states     map[string]bool
	state      string
	gone       bool

	shares     atomic.Pointer[shareSeries]
	operations table[operationLabels, prometheus.Observer]
	tasks      recent // that ended
}

// Tool is the handle of one tool's series. They appear with the first call.
type Tool struct {
	server *server
	name   string
	series atomic.Pointer[toolSeries]
	folded prometheus.Counter // nil for a tool that is counted by its name
}

type toolSeries struct {
	requests prometheus.Counter
	duration prometheus.Histogram
	errors   table[string, prometheus.Counter]
}

// Tool returns the handle of a server's tool. Resolve it once and keep it; after Remove it is dead.
func (m *Metrics) Tool(server, tool string) *Tool {
	s := m.server(server)
	s.mu.Lock()
	defer s.mu.Unlock()
	tool = label(tool)
	own := len(s.tools)
	if s.tools[other] != nil {
		own--
	}
	if s.tools[tool] == nil && own >= int(m.maxTools.Load()) {
		tool = other
	}
	t := s.tools[tool]
	if t == nil {
		t = &Tool{server: s, name: tool}
		if tool == other {
			t.folded = m.folded.WithLabelValues("tool")
		}
		s.tools[tool] = t
	}
	return t
}

// Observe counts one call. An empty errType is success, "tool_error" a result with isError, any other the
// JSON-RPC code or the outcome of the error.
func (t *Tool) Observe(d time.Duration, errType string) {
	s := t.series.Load()
	if s == nil {
		if s = t.open(); s == nil {
			return
		}
	}
	if t.folded != nil {
		t.folded.Inc()
	}
	s.requests.Inc()
	s.duration.Observe(d.Seconds())
	if errType == "" {
		return
	}
	failed, ok := s.errors.get(errType)
	if !ok {
		if failed = t.addErrorType(s, errType); failed == nil {
			return
		}
	}
	failed.Inc()
}

// open makes the series; nil when the server was removed, so that a call that ends late brings nothing back.
func (t *Tool) open() *toolSeries {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	if s := t.series.Load(); s != nil || t.server.gone {
		return s
	}
	m := t.server.metrics
	s := &toolSeries{
		requests: m.toolRequests.WithLabelValues(t.server.name, t.name),
		duration: m.toolDuration.WithLabelValues(t.server.name, t.name).(prometheus.Histogram),
	}
	t.series.Store(s)
	return s
}

func (t *Tool) addErrorType(s *toolSeries, errType string) prometheus.Counter {
	t.server.mu.Lock()
	defer t.server.mu.Unlock()
	if t.server.gone {
		return nil
	}
	errType = bounded(t.server.errorTypes, errType, maxErrorTypes)
	return s.errors.add(errType, func() prometheus.Counter {
		return t.server.metrics.toolErrors.WithLabelValues(t.server.name, t.name, errType)
	})
}

// Discovery counts one attempt to ask a server for what it offers.
func (m *Metrics) Discovery(server string, ok bool) {
	outcome := okOutcome
	if !ok {
		outcome = failedOutcome
	}
	m.known(server, func(name string) {
		m.discoveries.WithLabelValues(name, failedOutcome) // from 0 on: what a counter begins with is no growth to Prometheus
		m.discoveries.WithLabelValues(name, outcome).Inc()
		if ok {
			m.discovered.WithLabelValues(name).SetToCurrentTime()
		}
	})
}

// Retried counts a repetition of a request to a server.
func (m *Metrics) Retried(server, outcome string) {
	m.known(server, func(name string) { m.retries.WithLabelValues(name, outcome).Inc() })
}

// FellBack counts an answer that something else gave in place of a server.
func (m *Metrics) FellBack(server, kind string) {
	m.known(server, func(name string) { m.fallbacks.WithLabelValues(name, kind).Inc() })
}

// ServerState says which state a server is in now.
func (m *Metrics) ServerState(server, state string) {
	s := m.server(server)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return
	}
	if s.state != "" {
		m.states.WithLabelValues(s.name, s.state).Set(0)
	}
	s.state = bounded(s.states, state, maxStates)
	m.states.WithLabelValues(s.name, s.state).Set(1)
}

// Restart counts one new start of a server's process.
func (m *Metrics) Restart(server string) {
	m.known(server, func(name string) { m.restarts.WithLabelValues(name).Inc() })
}

// Remove drops all series of a server that is no longer configured; call it when the server has stopped.
// Handles of its tools that calls still hold stay silent.
func (m *Metrics) Remove(server string) {
	server = label(server)
	m.mu.Lock()
	defer m.mu.Unlock()
	if s := m.servers[server]; s != nil {
		s.mu.Lock()
		s.gone = true
		s.mu.Unlock()
		delete(m.servers, server)
	}
	of := prometheus.Labels{"server": server}
	for _, vec := range []interface {
		DeletePartialMatch(labels prometheus.Labels) int
	}{
		m.toolRequests, m.toolErrors, m.toolDuration, m.discoveries, m.states, m.restarts,
		m.starts, m.startDuration, m.crashes, m.refused, m.shares, m.fallbacks, m.retries, m.cacheRequests,
		m.discovered, m.tasksEnded, m.requestSize, m.responseSize, m.clientOperation, m.clientSession,
	} {
		vec.DeletePartialMatch(of)
	}
}

func (m *Metrics) server(name string) *server {
	name = label(name)
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.servers[name]
	if s == nil {
		s = &server{
			metrics: m, name: name,
			tools: map[string]*Tool{}, errorTypes: map[string]bool{}, states: map[string]bool{},
		}
		m.servers[name] = s
	}
	return s
}

// known does something with the series of a server, unless the server was removed meanwhile.
func (m *Metrics) known(server string, do func(name string)) {
	m.mu.Lock()
	s := m.servers[label(server)]
	m.mu.Unlock()
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.gone {
		do(s.name)
	}
}

// bounded enters value into a set of at most limit values, and returns it or, over the bound, other.
func bounded(set map[string]bool, value string, limit int) string {
	value = label(value)
	if !set[value] && len(set) >= limit {
		return other
	}
	set[value] = true
	return value
}

// label makes a text fit for a label value: valid UTF-8 and short.
func label(value string) string {
	if len(value) > maxLabel {
		return other
	}
	return strings.ToValidUTF8(value, "\uFFFD")
}
