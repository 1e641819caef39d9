package front

import (
	"errors"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
)

// keepAlive is how long a client may hear nothing before it gets a comment line or progress, so that nothing between takes the
// connection for dead: for modern clients a broken connection cancels the call. The configuration may say otherwise.
const keepAlive = 15 * time.Second

// gather is the size up to which an answer is put together in one buffer, to leave in one write.
const gather = 4 << 10

var (
	jsonType   = []string{"application/json"}
	streamType = []string{"text/event-stream"}
	noCache    = []string{"no-cache, no-store"}
	noBuffer   = []string{"no"}
	closing    = []string{"close"}
)

// sink is where what goes to the client is written: one JSON body, or events once something was to be said before the answer.
// Its timer watches over the connection: it keeps a silent one alive, gives a client that does not send a time limit, and cuts
// off one that has read nothing from one tick to the next. So a request that goes well pays for one timer and no deadline.
type sink struct {
	mu        sync.Mutex // held while something is written
	w         http.ResponseWriter
	streaming bool
	closed    bool
	leaving   *atomic.Bool // nil for never
	buf       []byte
	segs      [][]byte

	timer   *time.Timer
	watch   sync.Mutex   // held by the timer's function as long as it runs
	over    bool         // the request is
	hurried bool         // a deadline was set
	stuck   bool         // something was being written at the last tick
	was     uint64       // what written was then
	allow   atomic.Int64 // nanoseconds for the body to arrive; 0 when it has
	written atomic.Uint64

	every  time.Duration // as keepAlive; 0 for that
	silent bool          // something else keeps the connection alive: only progress is told
	pulse
}

// deadlines are what the response writer of net/http has.
type deadlines interface {
	SetReadDeadline(t time.Time) error
	SetWriteDeadline(t time.Time) error
}

func (s *sink) open(w http.ResponseWriter) {
	s.w, s.streaming, s.closed, s.over, s.hurried, s.stuck = w, false, false, false, false, false
	s.allow.Store(0)
	if s.timer == nil {
		s.watch.Lock() // the timer's function reads it
		s.timer = time.AfterFunc(s.interval(), s.tick)
		s.watch.Unlock()
		return
	}
	s.timer.Reset(s.interval())
}

// close ends the use of the response writer; it tells whether the sink may be used again.
func (s *sink) close() bool {
	s.watch.Lock()
	s.over = true
	stopped := s.timer.Stop()
	s.unhurry()
	s.watch.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.w = nil
	s.pulse = pulse{token: s.token[:0]}
	clear(s.segs)
	if cap(s.buf) > 64<<10 {
		s.buf = nil
	}
	return stopped
}

// tick is the timer's function.
func (s *sink) tick() {
	s.watch.Lock()
	defer s.watch.Unlock()
	if s.over {
		return
	}
	defer s.timer.Reset(s.interval())
	d, ok := s.w.(deadlines)
	if allow := s.allow.Load(); allow > 0 {
		if ok && !s.hurried {
			s.hurried = d.SetReadDeadline(time.Now().Add(time.Duration(allow))) == nil
		}
		return
	}
	if !s.mu.TryLock() {
		if ok && s.stalled() {
			s.hurried = d.SetWriteDeadline(time.Now()) == nil || s.hurried
		}
		return
	}
	defer s.mu.Unlock()
	s.stuck = false
	if ok {
		s.hurried = d.SetWriteDeadline(time.Now().Add(writeTime)) == nil || s.hurried
	}
	switch {
	case len(s.token) > 0:
		s.stream()
		s.buf = mcp.AppendEvent(s.buf[:0], s.beat())
		s.write(s.buf)
	case !s.silent:
		s.stream()
		s.write(comment)
	}
	s.unhurry()
}

// stalled tells whether the client has taken nothing since the last tick of what was being written then; the caller holds watch.
func (s *sink) stalled() bool {
	n := s.written.Load()
	still := s.stuck && s.was == n
	s.stuck, s.was = true, n
	return still
}

// unhurry takes deadlines back, so that the next request on the connection does not meet them; the caller holds watch.
func (s *sink) unhurry() {
	if d, ok := s.w.(deadlines); ok && s.hurried {
		_ = d.SetReadDeadline(time.Time{}) // it worked when it was set
		_ = d.SetWriteDeadline(time.Time{})
	}
	s.hurried = false
}

// arriving says how long the body may take; arrived, that it is there.
func (s *sink) arriving(limit time.Duration) { s.allow.Store(int64(limit)) }

func (s *sink) arrived() {
	s.allow.Store(0)
	s.watch.Lock()
	s.unhurry()
	s.watch.Unlock()
}

// comment is an empty one (SSE).
var comment = []byte(":\n\n")

// head is the header of an answer that begins now; the caller holds the lock.
func (s *sink) head() http.Header {
	h := s.w.Header()
	if s.leaving != nil && s.leaving.Load() {
		h["Connection"] = closing
	}
	return h
}

// stream turns the answer into an event stream; the caller holds the lock.
func (s *sink) stream() {
	if s.streaming {
		return
	}
	s.streaming = true
	h := s.head()
	h["Content-Type"] = streamType
	h["Cache-Control"] = noCache
	h["X-Accel-Buffering"] = noBuffer
	s.w.WriteHeader(http.StatusOK)
}

// header sets a header of the answer, or takes it back when the value is empty, unless it is too late for that.
func (s *sink) header(name, value string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.streaming {
		return
	}
	if value == "" {
		s.w.Header().Del(name)
		return
	}
	s.w.Header().Set(name, value)
}

// limits sets the headers of limits, unless it is too late for that.
func (s *sink) limits(x *gateway.Exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.streaming {
		x.LimitHeaders(s.w.Header())
	}
}

// timing tells a caller who asked for it where the time went: in a header, or in a trailer where the answer has begun.
func (s *sink) timing(x *gateway.Exchange) {
	text := x.Timing()
	if text == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closed:
	case s.streaming:
		s.w.Header()[http.TrailerPrefix+trace.HeaderTiming] = []string{string(text)}
	default:
		s.w.Header()[trace.HeaderTiming] = []string{string(text)}
	}
}

// writeTime is how long a client that hears nothing may leave what keeps it alive unread.
const writeTime = 30 * time.Second

// piece is what a client must take from one tick to the next, not to be taken for one that has stalled.
const piece = 256 << 10

// put writes in pieces, so that it shows how a client that reads slowly goes on.
func (s *sink) put(b []byte) error {
	for {
		n := min(len(b), piece)
		if _, err := s.w.Write(b[:n]); err != nil {
			return err
		}
		s.written.Add(1)
		if b = b[n:]; len(b) == 0 {
			return nil
		}
	}
}

func (s *sink) write(b []byte) {
	if s.put(b) != nil {
		return // the client is gone; its context says so to whoever works for it
	}
	if f, ok := s.w.(http.Flusher); ok {
		f.Flush()
	}
}

// notify sends a message that comes before the answer.
func (s *sink) notify(n *mcp.Raw) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || !s.goesOn(n) {
		return
	}
	s.stream()
	s.event(n)
	s.timer.Reset(s.interval())
}

func (s *sink) event(n *mcp.Raw) {
	s.segs = n.Segments(s.segs[:0])
	s.buf = mcp.AppendEvent(s.buf[:0], s.segs...)
	s.write(s.buf)
}

// raw sends events that are framed already.
func (s *sink) raw(events []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.stream()
	s.write(events)
	s.timer.Reset(s.interval())
}

var errLeft = errors.New("the client has left")

// tell sends one message that must not be lost unnoticed.
func (s *sink) tell(message []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errLeft
	}
	s.stream()
	s.buf = mcp.AppendEvent(s.buf[:0], message)
	if err := s.put(s.buf); err != nil {
		return err
	}
	s.timer.Reset(s.interval())
	switch f := s.w.(type) {
	case interface{ FlushError() error }:
		return f.FlushError()
	case http.Flusher:
		f.Flush()
	}
	return nil
}

// tellChanges sends what a watch has to tell.
func (s *sink) tellChanges(w *gateway.Watch, id []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.stream()
	s.buf = w.Append(s.buf[:0], id)
	if len(s.buf) > 0 {
		s.write(s.buf)
		s.timer.Reset(s.interval())
	}
	if cap(s.buf) > slimBuffer {
		s.buf = nil
	}
}

// slimBuffer is what a stream that waits may hold.
const slimBuffer = 1 << 10

// answer sends the answer and ends the exchange with the client.
func (s *sink) answer(a *mcp.Raw, status int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = s.token[:0]
	if s.streaming {
		s.event(a)
		return
	}
	h := s.head()
	h["Content-Type"] = jsonType
	h["Content-Length"] = []string{strconv.Itoa(a.Len())}
	s.w.WriteHeader(status)
	s.segs = a.Segments(s.segs[:0])
	if a.Len() <= gather {
		s.buf = s.buf[:0]
		for _, seg := range s.segs {
			s.buf = append(s.buf, seg...)
		}
		_ = s.put(s.buf) // a client that is gone needs no answer
		return
	}
	for _, seg := range s.segs {
		if s.put(seg) != nil {
			return
		}
	}
}

// status answers without a body.
func (s *sink) status(code int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.streaming {
		s.head()
		s.w.WriteHeader(code)
	}
}

// fail answers with an error, and what WWW-Authenticate says of it. id is the raw id of the request, nil when it is not known.
func (s *sink) fail(id []byte, e *errs.Error, status int, challenge []string) {
	body := errorBody(id, e)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = s.token[:0]
	if s.streaming {
		s.buf = mcp.AppendEvent(s.buf[:0], body)
		s.write(s.buf)
		return
	}
	h := s.head()
	h["Content-Type"] = jsonType
	if challenge != nil {
		h["Www-Authenticate"] = challenge
	}
	if e.RetryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(int((e.RetryAfter+time.Second-1)/time.Second)))
	}
	s.w.WriteHeader(status)
	_, _ = s.w.Write(body)
}

func errorBody(id []byte, e *errs.Error) []byte {
	return mcp.AppendError(nil, id, &mcp.Error{Code: e.Kind.Code(), Message: e.Error(), Data: e.Data})
}
