package audit

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

const (
	facility     = 13        // log audit (RFC 5424 §6.2.1)
	datagramMost = 60 << 10  // bytes of a message that is a datagram
	recentMost   = 256 << 10 // bytes that are sent again over a new connection
	farewell     = time.Second
	answerTime   = 5 * time.Millisecond
)

// syslog is a sink that takes messages of RFC 5424: over TCP and TLS counted by octets (RFC 6587 §3.4.1, RFC 5425), else as
// datagrams (RFC 5426). Nobody confirms them, so what was sent last is sent once more over the next connection: the one before may
// have ended before it was read.
type syslog struct {
	network, address string
	tls              *tls.Config // nil without
	counted          bool
	head             [2]string // of each message: up to the message id, and from there to the sequence

	conn   net.Conn
	dead   chan struct{} // closed once the other side has closed conn; nil for datagrams
	recent [][]byte
	size   int // of recent
}

func newSyslog(spec *v1.AuditSink, o *Options, _ string) (Follower, error) {
	u, err := url.Parse(spec.Syslog)
	if err != nil {
		return nil, errors.New("the address is not a URL")
	}
	s := &syslog{network: u.Scheme, address: u.Host, counted: u.Scheme == "tcp" || u.Scheme == "tls"}
	switch u.Scheme {
	case "tls":
		s.network, s.tls = "tcp", o.tls(u.Hostname())
	case "unix":
		s.network, s.address = "unixgram", u.Path
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	s.head = [2]string{
		" " + plain(host, 255) + " toolcrib " + plain(o.Replica, 128) + " ",
		` [origin software="toolcrib" swVersion="` + escaped(o.Version, 32) + `"][meta sequenceId="`,
	}
	return s, nil
}

// plain is a field of the header: printable ASCII of at most n bytes (RFC 5424 §6).
func plain(s string, n int) string {
	s = strings.Map(func(r rune) rune {
		if r <= ' ' || r >= 0x7f {
			return '_'
		}
		return r
	}, s)
	if s == "" {
		return "-"
	}
	return s[:min(len(s), n)]
}

// escaped is the value of a parameter (RFC 5424 §6.3.3) of at most n characters.
func escaped(s string, n int) string {
	var b strings.Builder
	for i, r := range []rune(strings.ToValidUTF8(s, "_")) {
		if i == n {
			break
		}
		if r == '"' || r == '\\' || r == ']' {
			b.WriteByte('\\')
		}
		b.WriteRune(r)
	}
	return b.String()
}

// syslogSeverities are by those of OCSF: informational, low (notice) and medium (warning).
var syslogSeverities = [...]int{6, 6, 5, 4}

// message is a record as it is sent. The number wraps as the standard has it (RFC 5424 §7.3.1).
func (s *syslog) message(l Line) []byte {
	e, err := ParseEvent(l.Raw)
	if err != nil {
		e = &Event{}
	}
	b := make([]byte, 0, len(l.Raw)+256)
	b = fmt.Appendf(b, "<%d>1 ", facility*8+syslogSeverities[min(max(e.Severity, 0), len(syslogSeverities)-1)])
	b = e.When().UTC().AppendFormat(b, "2006-01-02T15:04:05.000Z")
	b = append(append(append(b, s.head[0]...), plain(e.Operation(), 32)...), s.head[1]...)
	b = strconv.AppendUint(b, (l.Sequence-1)%(1<<31-1)+1, 10)
	b = append(append(b, `"] `...), l.Raw...)
	if !s.counted {
		return []byte(cut(string(b), datagramMost))
	}
	return append(append(strconv.AppendInt(make([]byte, 0, len(b)+8), int64(len(b)), 10), ' '), b...)
}

// cut shortens a text that has no room, between two characters.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "")
}

// Send implements Follower.
func (s *syslog) Send(ctx context.Context, lines []Line) error {
	if err := s.connect(ctx); err != nil {
		s.drop()
		return unreached(s.address, err)
	}
	defer hasten(ctx, s.conn)()
	end, _ := ctx.Deadline()
	err := s.conn.SetWriteDeadline(end)
	all := make([][]byte, len(lines))
	for i, l := range lines {
		all[i] = s.message(l)
	}
	if err = errors.Join(err, s.write(all)); err == nil {
		err = s.arrived(ctx)
	}
	if err != nil {
		s.drop()
		return unreached(s.address, err)
	}
	s.keep(all)
	return nil
}

// hasten has writes to a connection end once ctx does, until release is called. Then it is done with the connection: what comes
// later may be for another.
func hasten(ctx context.Context, conn net.Conn) (release func()) {
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		_ = conn.SetWriteDeadline(time.Unix(1, 0))
	})
	return func() {
		if !stop() {
			<-done
		}
	}
}

func (s *syslog) write(all [][]byte) error {
	if s.counted {
		buffers := net.Buffers(append([][]byte(nil), all...))
		if s.tls == nil {
			_, err := buffers.WriteTo(s.conn)
			return err
		}
		joint := make([]byte, 0, readMost)
		for _, m := range all {
			joint = append(joint, m...)
		}
		_, err := s.conn.Write(joint)
		return err
	}
	for _, m := range all {
		if _, err := s.conn.Write(m); err != nil {
			return err
		}
	}
	return nil
}

var errEnded = errors.New("the connection was closed by the other side")

// arrived waits until the other side's system has what was sent, which it has not when it closed the connection before.
func (s *syslog) arrived(ctx context.Context) error {
	if !s.counted {
		return s.answered()
	}
	for wait := 50 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		some, ended := unsent(s.conn)
		if ended {
			return errEnded
		}
		timer := time.NewTimer(wait)
		select {
		case <-s.dead:
			timer.Stop()
			return errEnded
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
		if some == 0 {
			return nil
		}
	}
}

// answered waits for the word that nobody listens at the other side, which is the answer to a datagram (ICMP).
func (s *syslog) answered() error {
	if s.network != "udp" {
		return nil
	}
	if err := s.conn.SetReadDeadline(time.Now().Add(answerTime)); err != nil {
		return err
	}
	if _, err := s.conn.Read(make([]byte, 1)); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil
}

// keep remembers what was sent last.
func (s *syslog) keep(all [][]byte) {
	for _, m := range all {
		s.recent = append(s.recent, m)
		s.size += len(m)
	}
	n := 0
	for s.size > recentMost {
		s.size -= len(s.recent[n])
		n++
	}
	s.recent = append([][]byte(nil), s.recent[n:]...)
}

// connect sees that there is a connection that the other side has not closed.
func (s *syslog) connect(ctx context.Context) error {
	if s.conn != nil {
		select {
		case <-s.dead:
			s.drop()
		default:
			return nil
		}
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, s.network, s.address)
	if err != nil {
		return err
	}
	if s.tls != nil {
		secure := tls.Client(conn, s.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return err
		}
		conn = secure
	}
	s.conn, s.dead = conn, nil
	if s.counted { // a datagram's fate is told to who writes the next
		s.dead = make(chan struct{})
		go watch(conn, s.dead)
	}
	if len(s.recent) == 0 {
		return nil
	}
	if end, ok := ctx.Deadline(); ok {
		_ = conn.SetWriteDeadline(end)
	}
	return s.write(s.recent)
}

// watch reads what nobody should send, to learn of the end.
func watch(conn net.Conn, dead chan struct{}) {
	defer close(dead)
	_, _ = io.Copy(io.Discard, conn)
}

// drop closes the connection.
func (s *syslog) drop() {
	if s.conn == nil {
		return
	}
	_ = s.conn.Close()
	if s.dead != nil {
		<-s.dead
	}
	s.conn = nil
}

// Close implements Follower. It lets the other side read all first.
func (s *syslog) Close() error {
	if c, ok := s.conn.(interface{ CloseWrite() error }); ok && s.counted && c.CloseWrite() == nil {
		timer := time.NewTimer(farewell)
		defer timer.Stop()
		select {
		case <-s.dead:
		case <-timer.C:
		}
	}
	s.drop()
	return nil
}
