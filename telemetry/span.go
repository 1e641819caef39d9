package telemetry

import (
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/toolcrib/toolcrib/internal/trace"
)

// Span is what is told of a request, beside what was noted on its way. What is empty is not told.
type Span struct {
	Start, End time.Time
	Why        Reason
	// Method is that of the message; Tool, Prompt and URI are what it names, as the client knows it, and OwnTool and OwnPrompt as the
	// server does.
	Method, Tool, Prompt, URI, OwnTool, OwnPrompt string
	// ID is the message's own, as text.
	ID string
	// Version is the protocol version that the client speaks, Session names its session.
	Version, Session string
	Client           netip.AddrPort
	Server, Toolset  string
	Tenant, Cache    string
	// Failed is error.type, Status the JSON-RPC code, Message what may be told of the error.
	Failed, Status, Message string
	// Round counts the rounds of questions before.
	Round int
	// Waited, Started and AtServer are where the time went.
	Waited, Started, AtServer time.Duration
}

// The attributes of the conventions for MCP (Development), and this gateway's own.
const (
	keyMethod     = attribute.Key("mcp.method.name")
	keyTool       = attribute.Key("gen_ai.tool.name")
	keyPrompt     = attribute.Key("gen_ai.prompt.name")
	keyOperation  = attribute.Key("gen_ai.operation.name")
	keyURI        = attribute.Key("mcp.resource.uri")
	keyVersion    = attribute.Key("mcp.protocol.version")
	keySession    = attribute.Key("mcp.session.id")
	keyID         = attribute.Key("jsonrpc.request.id")
	keyError      = attribute.Key("error.type")
	keyStatus     = attribute.Key("rpc.response.status_code")
	keyTransport  = attribute.Key("network.transport")
	keyProtocol   = attribute.Key("network.protocol.name")
	keyHost       = attribute.Key("server.address")
	keyPort       = attribute.Key("server.port")
	keyClientHost = attribute.Key("client.address")
	keyClientPort = attribute.Key("client.port")
	keyServer     = attribute.Key("toolcrib.server")
	keyToolset    = attribute.Key("toolcrib.toolset")
	keyTenant     = attribute.Key("toolcrib.tenant")
	keyCache      = attribute.Key("toolcrib.cache")
	keyWhy        = attribute.Key("toolcrib.kept")
	keyRound      = attribute.Key("toolcrib.round")
	keyAttempt    = attribute.Key("toolcrib.attempt")
	keyAttempts   = attribute.Key("toolcrib.attempts")
	keyReplica    = attribute.Key("toolcrib.replica")
	keyWaited     = attribute.Key("toolcrib.queue")
	keyStarted    = attribute.Key("toolcrib.start")
	keyAtServer   = attribute.Key("toolcrib.at_server")
)

const textMost = 512 // bytes of an attribute that somebody else wrote

// stageLeast is how long a stage takes that is told of: most take a microsecond, and to tell of one costs as much.
const stageLeast = 20 * time.Microsecond

// tell makes the spans of a request after the fact: that of the gateway as a server, and those of it as a client.
func (p *pipeline) tell(r *trace.Record, s *Span) {
	w, _ := p.writers.Get().(*spanWriter)
	defer p.writers.Put(w)
	w.out = w.out[:0]
	attempts, more := r.Attempts()
	w.list = s.attributes(w.list[:0])
	if more > 0 {
		w.list = append(w.list, keyAttempts.Int(len(attempts)+more))
	}
	w.begin(r.Context, r.Span, r.Parent, true)
	w.about(spanName(s.Method, s.Tool+s.Prompt), kindServer, s.Start, s.End)
	marks := r.Marks()
	for i, m := range marks {
		until := s.End
		if i+1 < len(marks) {
			until = marks[i+1].At
		}
		if until.Sub(m.At) >= stageLeast {
			w.event(m.Stage, m.At)
		}
	}
	if r.Around.Valid() {
		w.link(r.Around, true)
	}
	w.end(s.Failed != "", s.Message)
	for i := range attempts {
		w.attempt(r, s, &attempts[i])
	}
	p.add(w.out, int64(1+len(attempts)))
}

// spanName is the name of a span: the method, and what it is about where there are not many of that.
func spanName(method, target string) string {
	if target == "" {
		return method
	}
	return method + " " + target
}

func (w *spanWriter) attempt(r *trace.Record, s *Span, a *trace.Attempt) {
	end := a.End
	if end.IsZero() {
		end = s.End
	}
	name, kind := spanName(s.Method, s.OwnTool+s.OwnPrompt), uint64(kindClient)
	switch {
	case a.Asked != "":
		name = a.Asked
	case a.Awaits:
		name, kind = "await "+a.Method, kindInternal
	case a.Method != "":
		name = a.Method
	}
	w.list = s.toward(w.list[:0], a)
	w.begin(r.Context, a.Span, r.Span, false)
	w.about(name, kind, a.Start, end)
	if a.For.Valid() {
		w.link(a.For, false)
	}
	w.end(a.Failed != "", "")
}

// tellErrand makes the spans of what the gateway sent for a request that does not wait for it any more.
func (p *pipeline) tellErrand(e *trace.Errand) {
	w, _ := p.writers.Get().(*spanWriter)
	defer p.writers.Put(w)
	w.out = w.out[:0]
	attempts, _ := e.Record().Attempts()
	s := Span{Method: e.Method, Server: e.Server, End: time.Now()}
	for i := range attempts {
		w.attempt(e.Record(), &s, &attempts[i])
	}
	p.add(w.out, int64(len(attempts)))
}

// common are the attributes of both sides.
func (s *Span) common(list []attribute.KeyValue, tool, prompt string) []attribute.KeyValue {
	list = append(list, keyMethod.String(s.Method))
	list = text(list, keyServer, s.Server)
	list = text(list, keyPrompt, prompt)
	if tool != "" {
		list = append(list, keyTool.String(tool), keyOperation.String("execute_tool"))
	}
	return text(list, keyURI, s.URI)
}

// attributes are those of the gateway as a server.
func (s *Span) attributes(list []attribute.KeyValue) []attribute.KeyValue {
	list = s.common(list, s.Tool, s.Prompt)
	list = append(list, keyTransport.String("tcp"), keyProtocol.String("http"), keyWhy.String(s.Why.String()))
	if s.Client.IsValid() {
		list = append(list, keyClientHost.String(s.Client.Addr().String()), keyClientPort.Int(int(s.Client.Port())))
	}
	list = text(list, keyID, s.ID)
	list = text(list, keyVersion, s.Version)
	list = text(list, keySession, s.Session)
	list = text(list, keyToolset, s.Toolset)
	list = text(list, keyTenant, s.Tenant)
	list = text(list, keyCache, s.Cache)
	list = text(list, keyError, s.Failed)
	list = text(list, keyStatus, s.Status)
	if s.Round > 0 {
		list = append(list, keyRound.Int(s.Round))
	}
	list = seconds(list, keyAtServer, s.AtServer)
	list = seconds(list, keyWaited, s.Waited)
	return seconds(list, keyStarted, s.Started)
}

func seconds(list []attribute.KeyValue, key attribute.Key, d time.Duration) []attribute.KeyValue {
	if d == 0 {
		return list
	}
	return append(list, key.Float64(d.Seconds()))
}

// toward are the attributes of the gateway as a client.
func (s *Span) toward(list []attribute.KeyValue, a *trace.Attempt) []attribute.KeyValue {
	if a.Asked != "" {
		return s.asked(list, a)
	}
	if a.Method != "" {
		s = &Span{Method: a.Method, Server: a.Server}
	}
	list = s.common(list, s.OwnTool, s.OwnPrompt)
	switch host, port := a.Address(); {
	case a.Awaits:
	case a.Replica != "":
		list = append(list, keyReplica.String(a.Replica))
	case host == "":
		list = append(list, keyTransport.String("pipe"))
	default:
		list = append(list, keyTransport.String("tcp"), keyProtocol.String("http"), keyHost.String(host), keyPort.Int(port))
	}
	if a.ID != 0 {
		list = append(list, keyID.String(strconv.FormatInt(a.ID, 10))) // a string, whatever the message has
	}
	if a.Number > 1 {
		list = append(list, keyAttempt.Int(a.Number))
	}
	list = text(list, keyVersion, a.Version)
	list = text(list, keyError, a.Failed)
	if a.Answered {
		list = append(list, keyStatus.String(a.Failed))
	}
	return list
}

// asked are the attributes of a question to the client, by whose stream it goes.
func (s *Span) asked(list []attribute.KeyValue, a *trace.Attempt) []attribute.KeyValue {
	list = append(list, keyMethod.String(a.Asked), keyTransport.String("tcp"), keyProtocol.String("http"))
	list = text(list, keyServer, s.Server)
	list = text(list, keyVersion, s.Version)
	list = text(list, keySession, s.Session)
	return text(list, keyError, a.Failed)
}

func text(list []attribute.KeyValue, key attribute.Key, value string) []attribute.KeyValue {
	if value == "" {
		return list
	}
	return append(list, key.String(clean(value)))
}

// clean is text as it may be exported: of a bounded size, and UTF-8, since one span that is not has all that go with it refused.
func clean(text string) string {
	if len(text) > textMost {
		return strings.ToValidUTF8(text[:textMost], "") + "…"
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}
