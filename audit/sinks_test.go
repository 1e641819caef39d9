package audit_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	logs "go.opentelemetry.io/proto/slim/otlp/collector/logs/v1"
	common "go.opentelemetry.io/proto/slim/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// received are the lines that a sink's other side has got.
type received struct {
	mu    sync.Mutex
	lines []string
	wrong []string
}

func (r *received) take(lines ...string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, lines...)
}

func (r *received) complain(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.wrong = append(r.wrong, fmt.Sprintf(format, args...))
}

// once are the lines without those that came again. Their first comings must be in order.
func (r *received) once(t testing.TB) []string {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, w := range r.wrong {
		t.Error(w)
	}
	seen := map[string]bool{}
	var all []string
	for _, l := range r.lines {
		if !seen[l] {
			seen[l] = true
			all = append(all, l)
		}
	}
	return all
}

// other is the other side of a sink, at an address that stays.
type other interface {
	sink() v1.AuditSink
	start(t testing.TB) // listens, again
	stop(t testing.TB)
	lines(t testing.TB) []string // all that came, in order, without repetitions
}

func logged(t testing.TB, c *v1.Config) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(c.StateDir, logName))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
}

// TestSinksAway: a sink that was away when the gateway started, went away in between and was away while the gateway was started
// again gets everything, in order.
func TestSinksAway(t *testing.T) {
	for name, o := range map[string]func(testing.TB) other{
		"otlp": newCollector, "webhook": newHook, "tcp": newSyslog("tcp"), "tls": newSyslog("tls"), "unix": newSyslog("unix"), "udp": newSyslog("udp"),
		"sqlite": newFile, "postgres": newPostgres,
	} {
		t.Run(name, func(t *testing.T) { away(t, o(t)) })
	}
}

func away(t *testing.T, o other) {
	c := config(t, v1.AuditSink{File: logName}, o.sink())
	c.Audit.Sinks[1].Timeout = v1.Duration(2 * time.Second)
	opts := audit.Options{Roots: testRoots()}
	l := open(t, c, opts)
	writeSome(t, l, 30)
	eventually(t, "the sink fails", func() bool { return failing(l) != "" || datagrams(&c.Audit.Sinks[1]) })
	o.start(t)
	all(t, c, l, o)
	o.stop(t)
	writeSome(t, l, 30)
	end, cancel := context.WithCancel(t.Context())
	cancel() // what is away is not waited for
	if err := l.Close(end); err != nil {
		t.Fatal(err)
	}
	l = open(t, c, opts)
	writeSome(t, l, 30)
	o.start(t)
	all(t, c, l, o)
	writeSome(t, l, 5)
	all(t, c, l, o)
	shut(t, l)
	o.stop(t)
}

func datagrams(s *v1.AuditSink) bool { return strings.HasPrefix(s.Syslog, "udp:") }

// all waits until the sink has what the log has. With datagrams one learns of a loss from the next.
func all(t *testing.T, c *v1.Config, l *audit.Log, o other) {
	t.Helper()
	var got, want []string
	nudge := time.Now()
	ok := testenv.Happens(func() bool {
		if datagrams(&c.Audit.Sinks[1]) && time.Since(nudge) > 100*time.Millisecond {
			nudge = time.Now()
			writeSome(t, l, 1)
		}
		got, want = o.lines(t), logged(t, c)
		return slices.Equal(got, want)
	})
	if !ok {
		t.Fatalf("the sink got %d lines, want %d; it says %q", len(got), len(want), failing(l))
	}
}

func failing(l *audit.Log) string {
	if s := l.Status(); s != nil && len(s.Sinks) > 0 {
		return s.Sinks[0].Error
	}
	return ""
}

// served is an HTTP server at an address that stays.
type served struct {
	received
	address string
	handler http.Handler
	server  *httptest.Server
}

func serves(t testing.TB, h http.HandlerFunc) served {
	t.Helper()
	return served{address: testenv.Reserve(t), handler: h}
}

func (s *served) start(t testing.TB) {
	t.Helper()
	s.server = httptest.NewUnstartedServer(s.handler)
	_ = s.server.Listener.Close()
	s.server.Listener = testenv.ListenAt(t, s.address)
	s.server.Start()
}

func (s *served) stop(testing.TB) {
	s.server.CloseClientConnections()
	s.server.Close()
}

func (s *served) lines(t testing.TB) []string { return s.once(t) }

// hook takes JSON lines, in its own way.
type hook struct{ served }

func newHook(t testing.TB) other {
	h := &hook{}
	answers := []int{503, 400, 429, 301}
	h.served = serves(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/x-ndjson" || r.Header.Get("Authorization") != "Bearer s3cr3t" {
			h.complain("%s with %v", r.Method, r.Header)
		}
		if len(answers) > 0 {
			w.Header().Set("Location", "/elsewhere")
			w.WriteHeader(answers[0])
			answers = answers[1:]
			return
		}
		if bytes.Count(body, []byte{'\n'}) > 8 {
			w.WriteHeader(http.StatusRequestEntityTooLarge)
			return
		}
		lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
		h.take(lines...)
		if first, last, ok := strings.Cut(r.Header.Get("Toolcrib-Sequence"), "-"); err != nil || !ok || r.URL.Path != "/in" ||
			!strings.HasPrefix(lines[0], `{"metadata":{"sequence":`+first+",") || !strings.HasPrefix(lines[len(lines)-1], `{"metadata":{"sequence":`+last+",") {
			h.complain("%s %v %v", r.URL, r.Header, err)
		}
		w.WriteHeader(http.StatusAccepted)
	})
	return h
}

func (h *hook) sink() v1.AuditSink {
	return v1.AuditSink{Webhook: "http://" + h.address + "/in?key=hunter2", Headers: map[string]v1.Secret{"Authorization": "Bearer s3cr3t"}}
}

// collector takes OTLP by the official messages.
type collector struct{ served }

func newCollector(t testing.TB) other {
	o := &collector{}
	o.served = serves(t, func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var q logs.ExportLogsServiceRequest
		if err = errors.Join(err, proto.Unmarshal(body, &q)); err != nil || r.Header.Get("Content-Type") != "application/x-protobuf" || r.URL.Path != "/v1/logs" {
			o.complain("%v %s %v", err, r.URL, r.Header)
		}
		for _, scope := range q.GetResourceLogs()[0].GetScopeLogs() {
			for _, record := range scope.GetLogRecords() {
				o.take(record.GetBody().GetStringValue())
			}
		}
		if why := unlikely(&q); why != "" {
			o.complain("%s: %v", why, &q)
		}
		answer, err := proto.Marshal(&logs.ExportLogsServiceResponse{PartialSuccess: &logs.ExportLogsPartialSuccess{ErrorMessage: "slow down"}})
		if err != nil {
			o.complain("%v", err)
		}
		_, _ = w.Write(answer)
	})
	return o
}

func (o *collector) sink() v1.AuditSink {
	return v1.AuditSink{OTLP: "http://" + o.address + "/v1/logs"}
}

func texts(all []*common.KeyValue) map[string]string {
	m := map[string]string{}
	for _, a := range all {
		m[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return m
}

// unlikely says what is wrong with a request.
func unlikely(q *logs.ExportLogsServiceRequest) string {
	if len(q.GetResourceLogs()) != 1 || len(q.ProtoReflect().GetUnknown()) > 0 {
		return "shape"
	}
	about := texts(q.GetResourceLogs()[0].GetResource().GetAttributes())
	if about["service.name"] != "toolcrib" || about["service.instance.id"] != "r1" || about["service.version"] != "1.2.3" {
		return "resource"
	}
	if s := q.GetResourceLogs()[0].GetScopeLogs(); len(s) != 1 || s[0].GetScope().GetName() == "" || s[0].GetScope().GetVersion() != "1.2.3" {
		return "scope"
	}
	for _, r := range q.GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords() {
		at := texts(r.GetAttributes())
		switch {
		case r.GetTimeUnixNano() == 0 || r.GetObservedTimeUnixNano() == 0 || r.GetEventName() != "toolcrib.audit" ||
			r.GetSeverityText() != "INFO" || r.GetSeverityNumber() != 9:
			return "record"
		case at["toolcrib.audit.log"] == "" || at["toolcrib.operation"] == "":
			return "attributes"
		case at["toolcrib.operation"] == "tools/call" && (at["user.name"] != "alice" || at["toolcrib.target"] != "find" ||
			fmt.Sprintf("%x", r.GetTraceId()) != strings.Repeat("a1", 16) || r.GetTimeUnixNano() != 1_800_000_000_000_000_000):
			return "call"
		}
	}
	return ""
}

// receiver is a syslog server.
type receiver struct {
	received
	network, address string
	stops            func()
}

func newSyslog(network string) func(testing.TB) other {
	return func(t testing.TB) other {
		s := &receiver{network: network, address: testenv.Reserve(t), stops: func() {}}
		if network == "unix" {
			s.address = filepath.Join(t.TempDir(), "log")
		}
		t.Cleanup(func() { s.stops() })
		return s
	}
}

func (s *receiver) sink() v1.AuditSink { return v1.AuditSink{Syslog: s.network + "://" + s.address} }

func (s *receiver) lines(t testing.TB) []string { return s.once(t) }

func (s *receiver) stop(testing.TB) { s.stops() }

func (s *receiver) start(t testing.TB) {
	t.Helper()
	switch s.network {
	case "udp", "unix":
		s.datagrams(t)
	default:
		s.connections(t)
	}
}

func (s *receiver) datagrams(t testing.TB) {
	t.Helper()
	network := s.network
	if network == "unix" {
		network = "unixgram"
		_ = os.Remove(s.address)
	}
	conn, err := net.ListenPacket(network, s.address)
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		b := make([]byte, 1<<16)
		for {
			n, _, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			s.parsed(string(b[:n]))
		}
	})
	s.stops = func() { _ = conn.Close(); wg.Wait() }
}

func (s *receiver) connections(t testing.TB) {
	t.Helper()
	l := testenv.ListenAt(t, s.address)
	if s.network == "tls" {
		l = tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{testCertificate()}})
	}
	var wg sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	wg.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
				s.counted(bufio.NewReader(conn))
			})
		}
	})
	s.stops = func() { cancel(); _ = l.Close(); wg.Wait() }
}

// counted reads messages with octet counting (RFC 6587 §3.4.1).
func (s *receiver) counted(r *bufio.Reader) {
	for {
		size, err := r.ReadString(' ')
		if err != nil {
			return
		}
		n, err := strconv.Atoi(strings.TrimSuffix(size, " "))
		if err != nil || size[0] == '0' {
			s.complain("count %q", size)
			return
		}
		b := make([]byte, n)
		if _, err := io.ReadFull(r, b); err != nil {
			return // the connection ended within a message
		}
		s.parsed(string(b))
	}
}

// rfc5424 is the grammar of RFC 5424 §6, but for what may be in a value of structured data.
var rfc5424 = regexp.MustCompile(`^<(\d{1,3})>1 (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,6})?Z) ([!-~]{1,255}) ([!-~]{1,48}) ([!-~]{1,128}) ([!-~]{1,32}) ` +
	`((?:\[[!-~]{1,32}(?: [!-~]{1,32}="(?:[^"\\\]]|\\["\\\]])*")*\])+|-) (.*)$`)

func (s *receiver) parsed(m string) {
	p := rfc5424.FindStringSubmatch(m)
	if p == nil {
		s.complain("not RFC 5424: %q", m)
		return
	}
	at, err := time.Parse(time.RFC3339Nano, p[2])
	if err != nil || p[1] != "110" || p[4] != "toolcrib" || p[5] != "r1" || at.Year() < 2026 || !strings.Contains(p[7], `[meta sequenceId="`) {
		s.complain("%v: %q", err, p[1:8])
	}
	s.take(p[8])
}

var testCertificate = sync.OnceValue(func() tls.Certificate {
	s := httptest.NewUnstartedServer(nil)
	s.StartTLS() // has one for 127.0.0.1
	defer s.Close()
	return s.TLS.Certificates[0]
})

func testRoots() *x509.CertPool {
	p := x509.NewCertPool()
	c, err := x509.ParseCertificate(testCertificate().Certificate[0])
	if err != nil {
		panic(err)
	}
	p.AddCert(c)
	return p
}

// rows is a table in a database.
type rows struct {
	driver, source string
	spec           v1.AuditSink
	up, down       func()
}

// newFile is an SQLite file in a folder that is a file at first.
func newFile(t testing.TB) other {
	dir := filepath.Join(t.TempDir(), "db")
	path := filepath.Join(dir, "audit.db")
	r := &rows{driver: "sqlite", source: path, spec: v1.AuditSink{SQLite: path}}
	r.down = func() {
		_ = os.Rename(dir, dir+".away")
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	r.up = func() {
		_ = os.Remove(dir)
		_ = os.Rename(dir+".away", dir)
	}
	r.down()
	return r
}

func newPostgres(t testing.TB) other {
	p := testenv.StartPostgres(t)
	r := &rows{driver: "pgx", up: p.Start, down: p.Kill}
	r.source = p.Database()
	r.spec.Postgres = v1.Secret(r.source)
	p.Kill()
	return r
}

func (r *rows) sink() v1.AuditSink { return r.spec }
func (r *rows) start(testing.TB)   { r.up() }
func (r *rows) stop(testing.TB)    { r.down() }

func (r *rows) lines(t testing.TB) []string {
	t.Helper()
	db, err := sql.Open(r.driver, r.source)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	found, err := db.QueryContext(t.Context(), "SELECT record FROM toolcrib_audit ORDER BY log, seq")
	if err != nil {
		return nil // not there yet
	}
	defer found.Close()
	var all []string
	for found.Next() {
		var s string
		if err := found.Scan(&s); err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	if err := found.Err(); err != nil {
		return nil
	}
	return all
}

// TestRows: the columns say what the record says, whatever that is, and a record that comes again is not there twice.
func TestRows(t *testing.T) {
	p := testenv.StartPostgres(t)
	file := filepath.Join(t.TempDir(), "audit.db")
	url := p.Database()
	for _, r := range []*rows{
		{driver: "sqlite", source: file, spec: v1.AuditSink{SQLite: file}},
		{driver: "pgx", source: url, spec: v1.AuditSink{Postgres: v1.Secret(url)}},
	} {
		c := config(t, v1.AuditSink{File: logName}, r.spec)
		l := open(t, c, audit.Options{})
		odd := call()
		odd.TargetName, odd.Server, odd.Subject = "a\x00b\xff", "'; DROP TABLE toolcrib_audit; --", strings.Repeat("ä", 4000)
		writeSome(t, l, 1)
		if err := l.Write(odd); err != nil {
			t.Fatal(err)
		}
		shut(t, l)
		for _, f := range must(filepath.Glob(filepath.Join(c.StateDir, logName+".sink-*"))) {
			text := string(must(os.ReadFile(f)))
			text = regexp.MustCompile(`"sequence":\d+`).ReplaceAllString(text, `"sequence":1`)
			text = regexp.MustCompile(`"offset":\d+`).ReplaceAllString(text, fmt.Sprintf(`"offset":%d`, len(logged(t, c)[0])+1))
			if err := os.WriteFile(f, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		l = open(t, c, audit.Options{})
		shut(t, l)
		if got, want := r.lines(t), logged(t, c); !slices.Equal(got, want) {
			t.Errorf("%s: %d rows, want %d", r.driver, len(got), len(want))
		}
		db := must(sql.Open(r.driver, r.source))
		defer db.Close()
		var subject, operation, server, target, outcome, decision, rule, tenant string
		var at int64
		if err := db.QueryRowContext(t.Context(),
			"SELECT time, tenant, subject, operation, server, target, outcome, decision, rule FROM toolcrib_audit WHERE seq = 2").
			Scan(&at, &tenant, &subject, &operation, &server, &target, &outcome, &decision, &rule); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(at, tenant, subject, operation, server, target, outcome, decision, rule); got !=
			fmt.Sprint(1_800_000_000_000, "acme", "alice", "tools/call", "files", "find", "ok", "Allowed", "role user") {
			t.Errorf("%s: %s", r.driver, got)
		}
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

// TestSinksTellNoSecrets: what is wrong with a sink is told without its address's secrets, its headers, or what it answers.
func TestSinksTellNoSecrets(t *testing.T) {
	var log safeBuffer
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusUnauthorized)
		fmt.Fprint(w, "no such token hunter2")
	}))
	defer s.Close()
	secure := httptest.NewTLSServer(s.Config.Handler)
	defer secure.Close()
	header := map[string]v1.Secret{"Authorization": "Bearer hunter2"}
	for want, sink := range map[string]v1.AuditSink{
		"answered 401":          {Webhook: s.URL + "/hunter2?k=hunter2", Headers: header},
		"answered 401 ":         {OTLP: s.URL + "/hunter2?k=hunter2", Headers: header},
		"connection refused":    {Webhook: "http://" + testenv.Reserve(t) + "/hunter2", Headers: header},
		"certificate":           {Webhook: secure.URL + "/hunter2"},
		"PostgreSQL at 127.0.0": {Postgres: v1.Secret("postgres://u:hunter2@" + testenv.Reserve(t) + "/db")},
	} {
		l := open(t, config(t, v1.AuditSink{File: logName}, sink), audit.Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
		writeSome(t, l, 1)
		eventually(t, want, func() bool { return failing(l) != "" })
		if got := failing(l); !strings.Contains(got, strings.TrimSpace(want)) || strings.Contains(got, "hunter2") {
			t.Errorf("%s: %q", want, got)
		}
		end, cancel := context.WithCancel(t.Context())
		cancel()
		if err := l.Close(end); err != nil {
			t.Error(err)
		}
	}
	if bytes.Contains(log.Bytes(), []byte("hunter2")) {
		t.Errorf("%s", log.Bytes())
	}
}
