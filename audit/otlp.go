package audit

import (
	"cmp"
	"context"
	"encoding/hex"
	"log/slog"
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// otlp is a sink that takes OpenTelemetry logs over HTTP, as protobuf (OTLP 1.11, ExportLogsServiceRequest). The messages are few and
// fixed, so that they are written here, field by field: an SDK would batch, queue and drop by itself what must not be dropped.
type otlp struct {
	*poster
	resource, scope []byte // are the same in every request
	log             string
	warn            *slog.Logger
	now             func() time.Time
}

func newOTLP(spec *v1.AuditSink, o *Options, _ string) (Follower, error) {
	p, err := newPoster(spec, o, spec.OTLP, "application/x-protobuf")
	if err != nil {
		return nil, err
	}
	s := &otlp{poster: p, log: o.id, warn: o.Log, now: o.Now}
	about := map[string]string{"service.version": o.Version, "service.instance.id": o.Replica}
	maps.Copy(about, o.Resource)
	about["service.name"] = cmp.Or(o.Service, "toolcrib")
	for _, name := range slices.Sorted(maps.Keys(about)) {
		s.resource = attribute(s.resource, 1, name, about[name])
	}
	s.scope = text(text(nil, 1, "github.com/toolcrib/toolcrib/audit"), 2, o.Version)
	return s, nil
}

// Send implements Follower.
func (s *otlp) Send(ctx context.Context, lines []Line) error {
	return halved(lines, func(lines []Line) error {
		w, err := s.post(ctx, s.request(lines), nil)
		if err == nil {
			s.partial(w)
		}
		return err
	})
}

// request is an ExportLogsServiceRequest: one ResourceLogs with one ScopeLogs.
func (s *otlp) request(lines []Line) []byte {
	scoped := message(nil, 1, s.scope)
	for _, l := range lines {
		scoped = message(scoped, 2, s.record(l))
	}
	all := message(message(nil, 1, s.resource), 2, scoped)
	return message(make([]byte, 0, len(all)+len(lines)), 1, all)
}

// severities of OpenTelemetry, by those of OCSF: informational, low and medium.
var severities = [...]struct {
	number uint64
	text   string
}{{9, "INFO"}, {9, "INFO"}, {9, "INFO"}, {13, "WARN"}}

// record is a LogRecord: the line as it is, and what one looks for.
func (s *otlp) record(l Line) []byte {
	e, err := ParseEvent(l.Raw)
	if err != nil {
		e = &Event{}
	}
	_, target := e.Target()
	b := fixed(nil, 1, uint64(e.When().UnixNano()))
	b = fixed(b, 11, uint64(s.now().UnixNano())) // observed
	grade := severities[min(max(e.Severity, 0), len(severities)-1)]
	b = text(number64(b, 2, grade.number), 3, grade.text)
	b = message(b, 5, text(nil, 1, string(l.Raw))) // body
	b = text(b, 12, "toolcrib.audit")              // event name
	for _, a := range [...]struct{ name, value string }{
		{"toolcrib.audit.log", s.log},
		{"toolcrib.operation", e.Operation()},
		{"toolcrib.outcome", e.Outcome},
		{"toolcrib.decision", e.Decision},
		{"toolcrib.tenant", e.Metadata.Tenant},
		{"toolcrib.server", e.Server()},
		{"toolcrib.target", target},
		{"user.name", e.Subject()},
	} {
		if a.value != "" {
			b = attribute(b, 6, a.name, a.value)
		}
	}
	b = message(b, 6, message(text(nil, 1, "toolcrib.audit.sequence"), 2, number64(nil, 3, l.Sequence)))
	if id, err := hex.DecodeString(e.Trace.UID); err == nil && len(id) == 16 {
		b = message(b, 9, id)
	}
	return b
}

// partial looks for records that the collector took and then refused (ExportLogsPartialSuccess). By the standard these must not be
// sent again; they are in the log.
func (s *otlp) partial(body []byte) {
	answer := field(body, 1)
	if why := field(answer, 2); len(why) > 0 {
		s.warn.Warn("audit sink otlp: the collector took a batch with reservations", "collector", s.host, "it says", clipped(string(why)))
	}
}

// field is the last bytes of a field in a message; nil when there are none.
func field(b []byte, want protowire.Number) (value []byte) {
	for len(b) > 0 {
		number, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return value
		}
		b = b[n:]
		if n = protowire.ConsumeFieldValue(number, kind, b); n < 0 {
			return value
		}
		if number == want && kind == protowire.BytesType {
			value, _ = protowire.ConsumeBytes(b)
		}
		b = b[n:]
	}
	return value
}

func message(b []byte, n protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func text(b []byte, n protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, n, protowire.BytesType), v)
}

func number64(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, n, protowire.VarintType), v)
}

func fixed(b []byte, n protowire.Number, v uint64) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, n, protowire.Fixed64Type), v)
}

// attribute is a KeyValue with a text.
func attribute(b []byte, n protowire.Number, name, value string) []byte {
	return message(b, n, message(text(nil, 1, name), 2, text(nil, 1, value)))
}

// Close implements Follower.
func (s *otlp) Close() error {
	s.close()
	return nil
}
