package audit

import (
	"context"
	"net"
	"testing"
)

// TestSyslogGivenUp: the end of the time for records that meets the end of their connection is an error, and nothing worse.
func TestSyslogGivenUp(t *testing.T) {
	over, cancel := context.WithCancel(t.Context())
	cancel()
	for range 1000 {
		conn, other := net.Pipe()
		_ = other.Close()
		s := &syslog{network: "unixgram", conn: conn}
		if err := s.Send(over, []Line{{Raw: []byte(`{}`), Sequence: 1}}); err == nil || s.conn != nil {
			t.Fatalf("sent over a connection that has ended: %v", err)
		}
	}
}
