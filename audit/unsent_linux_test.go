package audit

import (
	"errors"
	"net"
	"testing"
)

// TestClosedBefore: what is written to a connection that the other side has closed has not arrived, also where nobody has noticed yet.
func TestClosedBefore(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	peer, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := &syslog{counted: true, conn: conn, dead: make(chan struct{})}
	if _, err := conn.Write([]byte("one")); err != nil || s.arrived(t.Context()) != nil {
		t.Fatal(err)
	}
	if err := peer.Close(); err != nil {
		t.Fatal(err)
	}
	_, _ = conn.Write([]byte("two")) // the system takes it all the same
	if err := s.arrived(t.Context()); !errors.Is(err, errEnded) {
		t.Errorf("%v", err)
	}
}
