package h1_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// certified returns a server's configuration and a client's that trusts it.
func certified(tb testing.TB) (server, client *tls.Config) {
	tb.Helper()
	s := httptest.NewTLSServer(http.NotFoundHandler())
	defer s.Close()
	return &tls.Config{Certificates: s.TLS.Certificates, MinVersion: tls.VersionTLS12},
		s.Client().Transport.(*http.Transport).TLSClientConfig
}

// TestTLSDeadConnections: what comes on an idle TLS connection is looked into, so that goodbyes and stray
// data end it and session tickets do not.
func TestTLSDeadConnections(t *testing.T) {
	server, trusting := certified(t)
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, tc := range []struct {
			name  string
			after func(p *peer)
			dials int64
		}{
			{"nothing", nil, 1},
			{"goodbye", func(p *peer) { _ = p.Conn.(*tls.Conn).CloseWrite() }, 2},
			{"closed", func(p *peer) { _ = p.Close() }, 2},
			{"closed without goodbye", func(p *peer) { _ = p.Conn.(*tls.Conn).NetConn().Close() }, 2},
			{"stray bytes", func(p *peer) { p.say(answer("evil")) }, 2},
		} {
			t.Run(tls.VersionName(version)+"/"+tc.name, func(t *testing.T) {
				cfg := server.Clone()
				cfg.MaxVersion = version
				idle, done := make(chan struct{}), make(chan struct{})
				c := client(t, h1.Options{TLS: trusting, Addr: serveTLS(t, cfg, func(p *peer) {
					p.request()
					p.say(answer("hi"))
					if p.n == 0 {
						<-idle
						if tc.after != nil {
							tc.after(p)
						}
						close(done)
					}
					p.request()
					p.say(answer("hi"))
					p.hold()
				})})
				mustCall(t, c, post("/"), "hi")
				close(idle)
				<-done
				mustCall(t, c, post("/"), "hi")
				if st := c.Stats(); st.Dials != tc.dials {
					t.Errorf("%+v, want %d dials", st, tc.dials)
				}
			})
		}
	}
}

// TestTLSStrayWithBody: data after the body in the same record is kept by crypto/tls, not by the socket.
func TestTLSStrayWithBody(t *testing.T) {
	server, trusting := certified(t)
	body := strings.Repeat("x", 12_000) // read in part past the buffer, so that what follows stays behind
	c := client(t, h1.Options{TLS: trusting, Addr: serveTLS(t, server, func(p *peer) {
		p.request()
		p.say(answer(body) + answer("evil"))
		p.request()
		p.say(answer("good"))
		p.hold()
	})})
	var p h1.Response
	if err := c.Do(t.Context(), post("/"), &p); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(&p, make([]byte, len(body))); err != nil {
		t.Fatal(err)
	}
	if _, got, err := call(t.Context(), c, post("/")); got == "evil" || err != nil {
		t.Errorf("%.20q, %v", got, err)
	}
	if st := c.Stats(); st.Dials != 2 {
		t.Errorf("%+v", st)
	}
}

func TestTLSTruncation(t *testing.T) {
	server, trusting := certified(t)
	c := client(t, h1.Options{TLS: trusting, Addr: serveTLS(t, server, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\n\r\nhi")
		if p.n == 0 {
			_ = p.Conn.(*tls.Conn).NetConn().Close()
		}
	})})
	_, _, err := call(t.Context(), c, post("/"))
	wantPhase(t, err, h1.PhaseBody, io.ErrUnexpectedEOF)
	mustCall(t, c, post("/"), "hi")
}

func TestTLSHandshake(t *testing.T) {
	server, trusting := certified(t)
	other := server.Clone()
	other.NextProtos = []string{"other"}
	offered := make(chan []string, 1)
	watching := server.Clone()
	watching.GetConfigForClient = func(h *tls.ClientHelloInfo) (*tls.Config, error) {
		select {
		case offered <- h.SupportedProtos:
		default:
		}
		return nil, nil
	}
	serveOne := func(p *peer) { p.request(); p.say(answer("hi")); p.hold() }
	asking := trusting.Clone()
	asking.NextProtos = []string{"h2", "http/1.1"}
	c := client(t, h1.Options{TLS: asking, Addr: serveTLS(t, watching, serveOne)})
	mustCall(t, c, post("/"), "hi")
	if got := <-offered; len(got) != 1 || got[0] != "http/1.1" {
		t.Errorf("offered %v", got)
	}
	if len(asking.NextProtos) != 2 {
		t.Error("the caller's configuration was changed")
	}
	for name, o := range map[string]h1.Options{
		"no ALPN":   {TLS: trusting, Addr: serveTLS(t, other, serveOne)},
		"untrusted": {TLS: &tls.Config{MinVersion: tls.VersionTLS12}, Addr: serveTLS(t, server, serveOne)},
		"plain":     {TLS: trusting, Addr: serve(t, func(p *peer) { p.say("HTTP/1.1 400 Bad Request\r\n\r\n") })},
		"silent":    {TLS: trusting, Addr: serve(t, func(p *peer) { p.hold() }), DialTimeout: func() time.Duration { return 500 * time.Millisecond }},
		"closing":   {TLS: trusting, Addr: serve(t, func(*peer) {})},
	} {
		c := client(t, o)
		_, _, err := call(t.Context(), c, post("/"))
		wantPhase(t, err, h1.PhaseTLS, nil)
		if limited := errors.Is(err, os.ErrDeadlineExceeded); limited != (name == "silent") {
			t.Errorf("%s: %v", name, err)
		}
		if st := c.Stats(); st.Active+st.Idle != 0 {
			t.Errorf("%s: %+v", name, st)
		}
	}
}

// TestTLSServerClosesIdle: net/http closes its idle connections; an unsafe call must not notice.
func TestTLSServerClosesIdle(t *testing.T) {
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hi") }))
	t.Cleanup(s.Close)
	gone := make(chan struct{}, 100)
	s.Config.ConnState = func(_ net.Conn, st http.ConnState) {
		if st == http.StateClosed {
			gone <- struct{}{}
		}
	}
	s.StartTLS()
	c := client(t, h1.Options{TLS: s.Client().Transport.(*http.Transport).TLSClientConfig, Addr: address(s)})
	for range 20 {
		mustCall(t, c, post("/", "{}"), "hi")
		s.CloseClientConnections()
		<-gone
	}
}

// TestTLSSlowBody times out inside records and goes on.
func TestTLSSlowBody(t *testing.T) {
	server, trusting := certified(t)
	next := make(chan struct{})
	c := client(t, h1.Options{TLS: trusting, Addr: serveTLS(t, server, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for _, s := range []string{"2", "\r\n", "h", "i\r", "\n0\r\n", "\r\n"} {
			<-next
			p.say(s)
		}
		p.hold()
	})})
	var p h1.Response
	if err := c.Do(t.Context(), post("/"), &p); err != nil {
		t.Fatal(err)
	}
	p.SetTimeout(2 * time.Millisecond)
	var got []byte
	b := make([]byte, 10)
	for {
		n, err := p.Read(b)
		got = append(got, b[:n]...)
		if errors.Is(err, io.EOF) {
			break
		}
		if errors.Is(err, os.ErrDeadlineExceeded) {
			select {
			case next <- struct{}{}:
			default:
			}
		} else if err != nil {
			t.Fatal(err)
		}
	}
	if st := c.Stats(); string(got) != "hi" || st.Idle != 1 {
		t.Errorf("%q, %+v", got, st)
	}
}
