package telemetry

import (
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/toolcrib/toolcrib/mcp"
)

// maxRequestSeries bounds the combinations of what tells requests apart.
const maxRequestSeries = 512

// Request is what is counted of a request of a client that is over.
type Request struct {
	// Method is the JSON-RPC method, Era modern or legacy, Protocol the version of MCP where it is known.
	Method, Era, Protocol string
	// Outcome is that of the error, ok or empty without one; ErrorType is error.type of OpenTelemetry, empty for success.
	Outcome, ErrorType string
	// Partial says that a list lacks what some server has, as it did not tell.
	Partial bool
}

type requestSeries struct {
	count               prometheus.Counter
	duration, operation prometheus.Observer
	discovery           prometheus.Counter // nil for all but requests that discover
	discoveryDuration   prometheus.Observer
	folded              prometheus.Counter // nil where the labels tell what it was
}

// Request counts one request of a client, which took d.
func (m *Metrics) Request(r Request, d time.Duration) {
	if r.Outcome == "" {
		r.Outcome = okOutcome
	}
	s, ok := m.requestSeries.get(r)
	if !ok {
		s = m.addRequestSeries(r)
	}
	took := d.Seconds()
	s.count.Inc()
	s.duration.Observe(took)
	s.operation.Observe(took)
	if s.discovery != nil {
		s.discovery.Inc()
		s.discoveryDuration.Observe(took)
	}
	if s.folded != nil {
		s.folded.Inc()
	}
}

func (m *Metrics) addRequestSeries(r Request) *requestSeries {
	if isCode(r.ErrorType) { // which servers choose: they must not use up what there is room for
		m.mu.Lock()
		r.ErrorType = bounded(m.codes, r.ErrorType, maxErrorTypes)
		m.mu.Unlock()
	}
	over := m.requestSeries.len() >= maxRequestSeries
	if over {
		r = Request{Method: other, Era: other, Outcome: other, ErrorType: other}
	}
	return m.requestSeries.add(r, func() *requestSeries {
		method, era, outcome := label(r.Method), label(r.Era), label(r.Outcome)
		s := &requestSeries{
			count:     m.requests.WithLabelValues(method, era, outcome),
			duration:  m.requestDuration.WithLabelValues(method, era),
			operation: m.serverOperation.WithLabelValues(method, label(r.Protocol), label(r.ErrorType)),
		}
		if over {
			s.folded = m.folded.WithLabelValues("method")
		}
		if slices.Contains(discovering, method) {
			s.discovery = m.discovering.WithLabelValues(method, discovered(r))
			s.discoveryDuration = m.discoveryDuration.WithLabelValues(method)
		}
		return s
	})
}

// isCode tells a JSON-RPC code from a kind of error, of which there are only so many.
func isCode(errType string) bool {
	return errType != "" && (errType[0] == '-' || errType[0] >= '0' && errType[0] <= '9')
}

// discovering are the requests by which a client finds out what there is.
var discovering = []string{
	mcp.MethodDiscover.String(), mcp.MethodInitialize.String(), mcp.MethodToolsList.String(), mcp.MethodPromptsList.String(),
	mcp.MethodResourcesList.String(), mcp.MethodResourcesTemplatesList.String(),
}

// ours are the outcomes that are no client's fault.
var ours = []string{"internal", "overloaded", "unavailable", "timeout", "protocol", "unsupported", "draining", "lost", "error"}

// discovered is what came of a request that discovers.
func discovered(r Request) string {
	switch {
	case slices.Contains(ours, r.Outcome):
		return "error"
	case r.Outcome != okOutcome:
		return "refused"
	case r.Partial:
		return "partial"
	}
	return okOutcome
}

// Authenticated counts how a caller was identified, or why it was not. The values are few.
func (m *Metrics) Authenticated(method, outcome string) {
	key := [2]string{method, outcome}
	c, ok := m.authenticated.get(key)
	if !ok {
		c = m.authenticated.add(key, func() prometheus.Counter { return m.authentications.WithLabelValues(method, outcome) })
	}
	c.Inc()
}

const (
	maxClients     = 50   // names of clients
	maxClientInfos = 1000 // descriptions of clients that are remembered as they were sent
	maxClientInfo  = 512  // bytes of each
)

// clientSeries are the counters of one client.
type clientSeries struct {
	count  prometheus.Counter
	folded prometheus.Counter // nil for a client that is counted by its name
}

func (c *clientSeries) add() {
	c.count.Inc()
	if c.folded != nil {
		c.folded.Inc()
	}
}

// Client counts a request by the client program that sent it. Info is the raw JSON of its description.
func (m *Metrics) Client(info []byte) {
	if len(info) == 0 {
		return
	}
	if known := m.clients.now.Load(); known != nil {
		if c := (*known)[string(info)]; c != nil {
			c.add()
			return
		}
	}
	m.newClient(info).add()
}

// newClient finds the counter of a description that was not seen before. Only so many names have one of their own; those that clients
// make up beyond that take no lock and are not remembered.
func (m *Metrics) newClient(info []byte) *clientSeries {
	name := label(clientName(info))
	c, named := m.clientNames.get(name)
	if !named {
		if c = m.nameClient(name); c == nil {
			return m.otherClient()
		}
	}
	if m.clients.len() >= maxClientInfos || len(info) > maxClientInfo {
		return c
	}
	return m.clients.add(string(info), func() *clientSeries { return c })
}

// nameClient gives a client a counter of its own; nil where there are enough.
func (m *Metrics) nameClient(name string) *clientSeries {
	if name == other || m.clientNames.len() >= int(m.maxClients.Load()) {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if c, named := m.clientNames.get(name); named {
		return c
	}
	if m.clientNames.len() >= int(m.maxClients.Load()) {
		return nil
	}
	return m.clientNames.add(name, func() *clientSeries { return &clientSeries{count: m.clientRequests.WithLabelValues(name)} })
}

// clientName is the name in the description of a client.
func clientName(info []byte) string {
	f, err := mcp.Lookup(info, mcp.Span{End: int32(len(info))}, "name")
	if err != nil || !f.Present() {
		return other
	}
	name, ok := mcp.Text(info, f.Span, nil)
	if !ok || len(name) == 0 {
		return other
	}
	return string(name)
}
