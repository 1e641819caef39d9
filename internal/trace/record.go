package trace

import (
	"net/url"
	"strconv"
	"sync"
	"time"
)

const (
	marksMost    = 32 // stages of a request, detours and rounds of questions included
	attemptsMost = 8
)

// Record is what is noted of one request. A nil Record notes nothing. What it is told comes from one goroutine at a time, but for
// attempts.
type Record struct {
	// Context is that of the request's own span, with which it appears in the trace. Sampled tells that the trace is kept whatever
	// becomes of the request.
	Context
	// Parent is the span that the request was made in, by its client; the zero id for none.
	Parent SpanID
	// Around is the context of the HTTP request, where the message has another one; invalid for none.
	Around Context
	// Baggage is what the client has servers told, as it stands in its header; empty for none.
	Baggage string
	// Read: the context of the message was looked at.
	Read bool
	// Timed: stages are noted whether the trace is kept or not.
	Timed bool
	// Start is when the request came. The times of what is noted are reckoned from it, since a clock of that kind is cheaper to read;
	// zero where nobody said.
	Start time.Time

	marks  [marksMost]Mark
	marked int

	mu       sync.Mutex // attempts may be beside each other
	attempts [attemptsMost]Attempt
	tried    int
	before   int // of tried: what belongs to other messages
}

// Mark is the beginning of a stage.
type Mark struct {
	Stage string
	At    time.Time
}

// Attempt is one request to a server, or to another replica.
type Attempt struct {
	// Context is that of its span.
	Context
	Start, End time.Time
	// Connect is how long opening a connection took, 0 where one was open; First is when the answer began, zero where that is not
	// known.
	Connect time.Duration
	First   time.Time
	// Number counts the attempts, from 1; ID is that of the message.
	Number int
	ID     int64
	// To is where it went; nil where that is a process or another replica.
	To *url.URL
	// Replica is the one that it was handed to; empty where it went to a server.
	Replica string
	// Asked is the method of a question to the client; empty for what goes to a server.
	Asked string
	// Method and Server are what was sent, and where to, when it is not the request itself; else empty.
	Method, Server string
	// Awaits: nothing was sent, since another request had it sent already. For is the context of that, where it is told.
	Awaits bool
	For    Context
	// Version is the protocol version that was spoken.
	Version string
	// Failed says why it failed: a JSON-RPC code where Answered, else a kind of error; empty where it did not.
	Failed   string
	Answered bool
	// Baggage is handed on with it; empty for none.
	Baggage string
}

// Reset forgets everything.
func (r *Record) Reset() {
	clear(r.attempts[:min(r.tried, attemptsMost)])
	r.Context, r.Parent, r.Around, r.Baggage, r.marked, r.tried, r.before = Context{}, SpanID{}, Context{}, "", 0, 0, 0
	r.Read, r.Timed, r.Start = false, false, time.Time{}
}

// now is the present time.
func (r *Record) now() time.Time { return since(r.Start) }

// since is the present time, reckoned from an earlier one. After a while that is not what the clock says: it may have been set, and the
// machine have slept.
func since(start time.Time) time.Time {
	if took := time.Since(start); took < time.Second {
		return start.Add(took)
	}
	return time.Now()
}

// Mark notes that a stage begins. Once it is known that the trace is not kept for certain, that is not worth its while; before the
// message was read, it may still say so.
func (r *Record) Mark(stage string) {
	if r == nil || r.Read && !r.Sampled && !r.Timed || r.marked == marksMost {
		return
	}
	r.marks[r.marked] = Mark{stage, r.now()}
	r.marked++
}

// Marks are the stages that were noted.
func (r *Record) Marks() []Mark { return r.marks[:r.marked] }

// Attempts are what was sent, and how many more there were than are told here.
func (r *Record) Attempts() (noted []Attempt, more int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n := min(r.tried, attemptsMost)
	return r.attempts[:n], r.tried - n
}

// Attempt notes that something is sent. It returns nil where that is not noted.
func (r *Record) Attempt() *Attempt {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.next()
	if a != nil {
		a.Start = r.now()
	}
	return a
}

// next is room for one more; nil where there is none. The caller holds the lock.
func (r *Record) next() *Attempt {
	if r.tried++; r.tried > attemptsMost {
		return nil
	}
	a := &r.attempts[r.tried-1]
	*a = Attempt{Context: r.Context, Number: r.tried - r.before, Baggage: r.Baggage}
	a.Span = NewSpanID()
	return a
}

// Ended notes how it ended: failed says why it failed, and is empty where it did not.
func (a *Attempt) Ended(failed string) {
	if a != nil {
		a.End, a.Failed = since(a.Start), failed
	}
}

// Began notes that the answer begins, and how long opening the connection for it took.
func (a *Attempt) Began(connect time.Duration) {
	if a != nil {
		a.Connect, a.First = connect, since(a.Start)
	}
}

// Address is where it went; an empty host where that is a process or another replica.
func (a *Attempt) Address() (host string, port int) {
	if a.To == nil {
		return "", 0
	}
	port, _ = strconv.Atoi(a.To.Port())
	switch {
	case port != 0:
	case a.To.Scheme == "https":
		port = 443
	default:
		port = 80
	}
	return a.To.Hostname(), port
}

// Told tells whether whom it is sent to is told of the trace: where it is not kept, what a client sends goes on as it is.
func (a *Attempt) Told() bool { return a != nil && a.Sampled }

// AppendHeader appends lines of an HTTP head that tell of the trace, each with its line end.
func (a *Attempt) AppendHeader(dst []byte) []byte {
	if !a.Told() {
		return dst
	}
	dst = append(a.AppendParent(append(dst, "traceparent: "...)), "\r\n"...)
	if a.State != "" {
		dst = append(append(append(dst, "tracestate: "...), a.State...), "\r\n"...)
	}
	if a.Baggage != "" {
		dst = append(append(append(dst, "baggage: "...), a.Baggage...), "\r\n"...)
	}
	return dst
}
