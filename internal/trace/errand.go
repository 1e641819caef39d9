package trace

import (
	"context"
	"sync/atomic"
	"time"
)

// Errand is the record of what is sent once for several requests, such as the request for a list. It is in the trace of the one that
// caused it, which may be over before. A nil Errand notes nothing.
type Errand struct {
	// Method is that of what is sent, Server whom it goes to.
	Method, Server string

	record Record
	met    atomic.Bool // the one that caused it, or its end, was here
}

// Errand begins the record of something that this request causes; nil where nothing is noted.
func (r *Record) Errand(method, server string) *Errand {
	if r == nil {
		return nil
	}
	e := &Errand{Method: method, Server: server}
	e.record.Context, e.record.Baggage, e.record.Start = r.Context, r.Baggage, r.Start
	return e
}

// Next is the record for the next message of the errand; its attempts are counted from 1.
func (e *Errand) Next() *Record {
	if e == nil {
		return nil
	}
	e.record.mu.Lock()
	e.record.before = e.record.tried
	e.record.mu.Unlock()
	return &e.record
}

// Over notes that nothing is sent any more. It tells whether the request that caused the errand waits for it no longer, so that what
// was sent has to be told without it.
func (e *Errand) Over() (left bool) { return e != nil && e.met.Swap(true) }

// Record is what was noted of the errand. Its span is that of the request that caused it.
func (e *Errand) Record() *Record { return &e.record }

// Waited notes that the request waited for an errand from a time on, and does not any more. What was sent is part of the request that
// caused it. Of others, and where nobody's request did, it is noted that they waited.
func (r *Record) Waited(e *Errand, caused bool, method, server string, since time.Time) {
	if r == nil {
		return
	}
	if caused && e.met.Swap(true) {
		r.adopt(e)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.next(); a != nil {
		a.Start, a.End, a.Number, a.Method, a.Server, a.Awaits = since, time.Now(), 0, method, server, true
		a.For = e.first()
	}
	r.before++
}

// first is the context of what was sent first, where that is told; invalid for none.
func (e *Errand) first() (c Context) {
	if e == nil || !e.record.Sampled {
		return c
	}
	e.record.mu.Lock()
	defer e.record.mu.Unlock()
	if e.record.tried > 0 {
		c = e.record.attempts[0].Context
	}
	return c
}

// adopt makes what was sent part of this request.
func (r *Record) adopt(e *Errand) {
	all, more := e.record.Attempts()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range all {
		if r.tried++; r.tried <= attemptsMost {
			a := &r.attempts[r.tried-1]
			*a = all[i]
			a.Method, a.Server = e.Method, e.Server
		}
	}
	r.tried += more
	r.before += len(all) + more
}

type key struct{}

// Into has what is done with ctx be noted in a record.
func Into(ctx context.Context, r *Record) context.Context {
	if r == nil {
		return ctx
	}
	return context.WithValue(ctx, key{}, r)
}

// From is the record in which what is done with ctx is noted; nil for none.
func From(ctx context.Context) *Record {
	r, _ := ctx.Value(key{}).(*Record)
	return r
}
