package front

import (
	"bytes"
	"net/http"
	"os"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// reader is a client that takes each piece of what it is sent after a while, or never.
type reader struct {
	each time.Duration // 0 for never
	got  bytes.Buffer

	mu     sync.Mutex
	expiry *time.Timer
	cut    chan struct{} // closed when the deadline for writing has passed
	body   time.Time     // the deadline for reading
}

func newReader(each time.Duration) *reader { return &reader{each: each, cut: make(chan struct{})} }

func (r *reader) Header() http.Header { return http.Header{} }
func (r *reader) WriteHeader(int)     {}

func (r *reader) Write(b []byte) (int, error) {
	var taken <-chan time.Time
	if r.each > 0 {
		taken = time.After(r.each)
	}
	select {
	case <-taken:
		return r.got.Write(b)
	case <-r.cut:
		return 0, os.ErrDeadlineExceeded
	}
}

func (r *reader) SetWriteDeadline(at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.expiry != nil {
		r.expiry.Stop()
	}
	if !at.IsZero() {
		r.expiry = time.AfterFunc(time.Until(at), func() { close(r.cut) })
	}
	return nil
}

func (r *reader) SetReadDeadline(at time.Time) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.body = at
	return nil
}

// written tells how long it takes to write to a client.
func written(r *reader, write func(*sink)) time.Duration {
	var s sink
	began := time.Now()
	s.open(r)
	write(&s)
	took := time.Since(began)
	s.close()
	return took
}

func answerOf(size int) *mcp.Raw {
	a := &mcp.Raw{Body: bytes.Repeat([]byte{'x'}, size)}
	return a
}

// TestStalledClient: a client that takes nothing of an answer or an event is given up within two ticks, at whatever size.
func TestStalledClient(t *testing.T) {
	for name, write := range map[string]func(*sink){
		"small answer": func(s *sink) { s.answer(answerOf(10), http.StatusOK) },
		"large answer": func(s *sink) { s.answer(answerOf(16<<20), http.StatusOK) },
		"event":        func(s *sink) { s.notify(answerOf(10)) },
		"large event":  func(s *sink) { s.notify(answerOf(1 << 20)) },
		"told":         func(s *sink) { _ = s.tell([]byte("x")) },
		"raw":          func(s *sink) { s.raw([]byte(":")) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				if took := written(newReader(0), write); took < keepAlive || took > 2*keepAlive {
					t.Errorf("given up after %v", took)
				}
			})
		})
	}
}

// TestSlowClient: a client that reads slowly but goes on gets everything, however long that takes.
func TestSlowClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newReader(14 * time.Second)
		const size = 4 << 20
		took := written(r, func(s *sink) { s.answer(answerOf(size), http.StatusOK) })
		if r.got.Len() != size || took != 14*time.Second*size/piece {
			t.Errorf("%d bytes in %v", r.got.Len(), took)
		}
	})
}

// TestSilentClient: what keeps a connection alive must be taken too.
func TestSilentClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		r := newReader(0)
		s.open(r)
		defer s.close()
		began := time.Now()
		<-r.cut
		if took := time.Since(began); took != keepAlive+writeTime {
			t.Errorf("given up after %v", took)
		}
	})
}

// TestSlowSender: a body has a time to arrive in, which does not outlive it.
func TestSlowSender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var s sink
		r := newReader(time.Millisecond)
		s.open(r)
		s.arriving(bodyTime)
		time.Sleep(keepAlive)
		synctest.Wait()
		if want := time.Now().Add(bodyTime); !r.body.Equal(want) {
			t.Errorf("the body may come until %v, want %v", r.body, want)
		}
		s.arrived()
		if !r.body.IsZero() {
			t.Errorf("the deadline stays when the body is there: %v", r.body)
		}
		s.close()
	})
}
