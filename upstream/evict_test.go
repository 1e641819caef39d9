package upstream

import (
	"context"
	"io"
	"strconv"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// fakeConduit carries nothing until it is stopped.
type fakeConduit struct{ done chan struct{} }

func (f fakeConduit) Write(context.Context, [][]byte, Statement, time.Duration) error { return nil }

func (f fakeConduit) Read(*mcp.Buffer) error {
	<-f.done
	return io.EOF
}

func (f fakeConduit) Stop(context.Context) error {
	close(f.done)
	return nil
}

func (f fakeConduit) Done() <-chan struct{} { return f.done }
func (f fakeConduit) Err() error            { return errStopped }
func (f fakeConduit) words() *words         { return streamWords }
func (f fakeConduit) fate() string          { return "" }
func (f fakeConduit) Fault([]byte) string   { return "" }

// TestStreamsAreTidied: only those end that nobody used for a time and that have no call, waiting ones included.
func TestStreamsAreTidied(t *testing.T) {
	t.Parallel()
	spec := &v1.Server{URL: "http://127.0.0.1:1/sse", Type: "sse"}
	spec.SetDefaults()
	s := Open(spec, Options{Name: "one"})
	t.Cleanup(s.Close)
	l := &s.link.(*sseLink).streams
	old := time.Now().Add(-2 * callerIdle).UnixNano()
	add := func(name string, used int64, pending bool) *instance {
		sl := &place[instance]{}
		in := newInstance(s, fakeConduit{make(chan struct{})}, nil, 0)
		in.drop = func() { sl.drop(in) }
		if pending {
			in.pending[1] = &waiting{answer: make(chan *mcp.Raw, 1)}
		}
		sl.used.Store(used)
		sl.val.Store(in)
		l.mu.Lock()
		l.places[sessionKey{caller: name}] = sl
		l.mu.Unlock()
		return in
	}
	idle, asking, fresh := add("idle", old, false), add("asking", old, true), add("fresh", time.Now().UnixNano(), false)
	opening := &place[instance]{}
	opening.cur = &attempt[instance]{} // slower than all the time that was waited
	opening.used.Store(old)
	l.mu.Lock()
	l.places[sessionKey{caller: "opening"}] = opening
	freed := l.evict(callerIdle)
	l.mu.Unlock()
	if !freed {
		t.Error("nothing was ended")
	}
	<-idle.p.Done()
	for _, in := range []*instance{asking, fresh} {
		select {
		case <-in.p.Done():
			t.Error("a stream in use was ended")
		default:
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.places[sessionKey{caller: "idle"}] != nil || l.places[sessionKey{caller: "fresh"}] == nil || l.places[sessionKey{caller: "opening"}] == nil {
		t.Errorf("left: %v", l.places)
	}
}

// TestRoomForSessions: when there are as many sessions as there may be, those make room that are not in use, however short that is.
func TestRoomForSessions(t *testing.T) {
	t.Parallel()
	spec := &v1.Server{URL: "http://127.0.0.1:1/mcp", Type: "http"}
	spec.SetDefaults()
	s := Open(spec, Options{Name: "one"})
	t.Cleanup(s.Close)
	l, used := &s.link.(*httpLink).sessions, time.Now().Add(-2*time.Second).UnixNano()
	l.mu.Lock()
	for i := range sessionsMost {
		sl := &place[session]{}
		sl.used.Store(used)
		sl.busy.Store(1)
		l.places[sessionKey{caller: strconv.Itoa(i)}] = sl
	}
	idle := l.places[sessionKey{caller: "7"}]
	l.mu.Unlock()
	if _, err := l.place(sessionKey{caller: "new"}); errs.Of(err).Kind != errs.Overloaded {
		t.Errorf("while all are in use: %v", err)
	}
	idle.busy.Store(0)
	if _, err := l.place(sessionKey{caller: "new"}); err != nil {
		t.Errorf("while one is not: %v", err)
	}
}
