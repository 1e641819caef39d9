package doctor

import (
	"context"
	"crypto/tls"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/telemetry"
)

// sinks looks whether records of the audit log get where they are to go, and says what was tried. No record stays anywhere.
func sinks(ctx context.Context, p *patient, n *notes) {
	a := &p.config.Audit
	if a.Sinks == nil && !p.config.Auth.Configured() || a.Sinks != nil && len(a.Sinks) == 0 {
		n.skip("", "nothing is recorded")
		return
	}
	if len(a.Sinks) == 0 {
		n.pass("", "records go to %s", filepath.Join(p.stateDir, "audit", "audit.jsonl"))
	}
	for i := range a.Sinks {
		s := &a.Sinks[i]
		about := "audit.sinks[" + strconv.Itoa(i) + "] " + s.Kind()
		before, tried := len(n.all), "connected only: no record was sent"
		switch s.Kind() {
		case "file":
			tried = "may be written, and has room; nothing was written"
			p.writable(n, about, s.File)
		case "sqlite":
			p.writable(n, about, s.SQLite)
			if len(n.all) == before {
				tried = p.rehearsed(ctx, n, about, s, "may be written, and has room: the first record makes its table",
					"restore it from a copy, or name another file")
			}
		case "postgres":
			tried = p.rehearsed(ctx, n, about, s, "connected only: the first record makes its table",
				"start it, give its user the right to insert into toolcrib_audit, or correct the sink")
		case "syslog", "otlp", "webhook":
			reach(ctx, n, about, s.Address(), "start it, or correct the sink: calls are refused once more than lag waits for it")
		}
		switch {
		case len(n.all) > before:
		case strings.HasPrefix(s.Address(), "udp:"):
			n.skip(about, "nobody answers over UDP: whether records arrive is seen there only")
		case s.Address() != "":
			n.pass(about, "%s is there; %s", place(s.Address()), tried)
		default:
			n.pass(about, "%s", tried)
		}
	}
}

// rehearsed has the table of a sink take a record, which is rolled back, and tells what was tried.
func (p *patient) rehearsed(ctx context.Context, n *notes, about string, s *v1.AuditSink, without, remedy string) (tried string) {
	made, err := audit.Rehearse(ctx, s, p.stateDir)
	switch {
	case err != nil:
		n.told(Fail, about, err.Error(), remedy)
		return ""
	case !made:
		return without
	}
	return "written: a record was inserted, and rolled back"
}

// writable looks whether a file can be written, and be made where it is not there.
func (p *patient) writable(n *notes, about, name string) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(p.stateDir, name)
	}
	at := name
	info, err := os.Stat(at)
	for ; err != nil && at != filepath.Dir(at); info, err = os.Stat(at) {
		at = filepath.Dir(at)
	}
	if virtual(at) {
		n.fail(about, "name another file", "%s cannot be written: it is of the kernel's own files", name)
		return
	}
	if unix.Access(at, unix.W_OK) != nil || info != nil && info.IsDir() == (at == name) {
		n.fail(about, "give this user the right to it, or name another file", "%s cannot be written: this user may not write to %s", name, at)
		return
	}
	if dir := filepath.Dir(name); dir != p.stateDir {
		p.room(n, at)
	}
}

// reach connects to an address, and no more. It tells whether somebody is there.
func reach(ctx context.Context, n *notes, about, address, remedy string) bool {
	u, err := url.Parse(address)
	if err != nil {
		return false // which configuration tells
	}
	network, at, encrypted := "tcp", u.Host, u.Scheme == "https" || u.Scheme == "tls"
	switch {
	case u.Scheme == "unix":
		network, at = "unixgram", u.Path
	case u.Scheme == "udp":
		network = "udp"
	case u.Port() == "":
		at = net.JoinHostPort(u.Hostname(), map[bool]string{true: "443", false: "80"}[encrypted])
	}
	var conn net.Conn
	if encrypted {
		conn, err = (&tls.Dialer{Config: &tls.Config{MinVersion: tls.VersionTLS12}}).DialContext(ctx, network, at)
	} else {
		conn, err = new(net.Dialer).DialContext(ctx, network, at)
	}
	if err != nil {
		n.fail(about, remedy, "%s cannot be reached: %v", place(address), err)
		return false
	}
	_ = conn.Close()
	return true
}

// exports looks whether what is measured gets to where it is to go.
func exports(ctx context.Context, p *patient, n *notes) {
	t := &p.config.Telemetry
	if !t.On() && !t.Sent() {
		n.skip("", "no traces and no metrics are sent")
	}
	if t.On() {
		collected(ctx, p, n)
	}
	const remedy = "start the collector, or correct telemetry.metrics.endpoint (OTEL_EXPORTER_OTLP_METRICS_ENDPOINT)"
	if !t.Sent() || !reach(ctx, n, "telemetry.metrics", t.Metrics.Endpoint, remedy) {
		return
	}
	if err := taken(ctx, t, telemetry.TryMetrics); err != nil {
		n.fail("telemetry.metrics", notOTLP+remedy, "%s takes no metrics: %v", place(t.Metrics.Endpoint), err)
		return
	}
	n.pass("telemetry.metrics", "%s takes them; metrics are sent every %s", place(t.Metrics.Endpoint), t.Metrics.Every)
}

const (
	notOTLP     = "see whether OTLP is spoken there, by the protocol and the headers that are set; "
	collectTime = 5 * time.Second
)

// taken tells why a collector that is there does not take an empty export. It may be asked again meanwhile, so that it gets little time.
func taken(ctx context.Context, c *v1.Telemetry, try func(context.Context, *v1.Telemetry) error) error {
	ctx, cancel := context.WithTimeout(ctx, collectTime)
	defer cancel()
	return try(ctx, c)
}

// collected looks whether the collector of traces is there.
func collected(ctx context.Context, p *patient, n *notes) {
	const remedy = "start the collector, or correct telemetry.traces.endpoint (OTEL_EXPORTER_OTLP_ENDPOINT)"
	t := &p.config.Telemetry.Traces
	if !reach(ctx, n, "telemetry.traces", t.Endpoint, remedy) {
		return
	}
	if err := taken(ctx, &p.config.Telemetry, telemetry.TryTraces); err != nil {
		n.fail("telemetry.traces", notOTLP+remedy, "%s takes no traces: %v", place(t.Endpoint), err)
		return
	}
	n.pass("telemetry.traces", "%s takes them; %s of requests are traced, and what fails or is slow", place(t.Endpoint), share(t.Sample))
}

func share(r v1.Ratio) string { return strconv.FormatFloat(r.Of()*100, 'f', -1, 64) + " %" }
