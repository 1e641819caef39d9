package real_test

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
)

// badName is the name of this machine, as long as names serves.
const badName = "bad.toolcrib.test"

// names is where this process looks for names.
var names nameServer

// nameServer has one name for this machine, as long as it is not down. While it does not serve, others are asked.
type nameServer struct{ serving, down atomic.Bool }

var errNoNames = errors.New("the name server is down")

// install has the process ask it; that is done before anything else runs.
func (n *nameServer) install() { net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: n.dial} }

// serve has it serve during a test.
func (n *nameServer) serve(t *testing.T) {
	t.Helper()
	n.serving.Store(true)
	t.Cleanup(func() { n.serving.Store(false) })
}

func (n *nameServer) dial(ctx context.Context, network, address string) (net.Conn, error) {
	switch {
	case !n.serving.Load():
		return new(net.Dialer).DialContext(ctx, network, address)
	case n.down.Load():
		return nil, errNoNames
	}
	ours, theirs := net.Pipe()
	go n.answer(ours)
	return theirs, nil
}

// answer answers one query (RFC 1035, with the length before it that TCP has).
func (n *nameServer) answer(c net.Conn) {
	defer c.Close()
	buf := make([]byte, 1024)
	size, err := c.Read(buf)
	for err == nil && size < 2+12 {
		var more int
		more, err = c.Read(buf[size:])
		size += more
	}
	if err != nil {
		return
	}
	query := buf[2:size]
	end := 12
	for query[end] != 0 {
		end += int(query[end]) + 1
	}
	end += 5 // the root, type and class
	address := query[end-3] == 1
	reply := append([]byte{query[0], query[1], 0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0}, query[12:end]...)
	if address {
		reply[7] = 1
		reply = append(reply, 0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, 0, 1)
	}
	_, _ = c.Write(append([]byte{byte(len(reply) >> 8), byte(len(reply))}, reply...)) // who asked may have gone
}
