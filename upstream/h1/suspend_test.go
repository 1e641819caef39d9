package h1_test

import (
	"context"
	"errors"
	"io"
	"os"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

// TestSuspend: a response that was set aside outlives its context, leaves its place in the pool to others, and is read on
// under another context, which ends it.
func TestSuspend(t *testing.T) {
	more := make(chan string)
	c := client(t, h1.Options{MaxConns: 1, Addr: serve(t, func(p *peer) {
		path, _ := p.request()
		if path == "short" {
			p.say(answer("done"))
			p.hold()
			return
		}
		p.say("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1")
		for s := range more {
			p.say(s)
		}
		p.hold()
	})})
	defer close(more)
	first, end := context.WithCancel(t.Context())
	var p h1.Response
	if err := c.Do(first, post("/", "long"), &p); err != nil {
		t.Fatal(err)
	}
	p.SetTimeout(time.Hour)
	b := make([]byte, 10)
	if n, err := p.Read(b); string(b[:n]) != "ab" || err != nil {
		t.Fatalf("%q, %v", b[:n], err)
	}
	p.SetDeadline(time.Now().Add(10 * time.Millisecond))
	if n, err := p.Read(b); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Fatalf("%d bytes, %v", n, err)
	}
	p.SetDeadline(time.Time{})
	if !p.Suspend() {
		t.Fatal("its context has not ended")
	}
	end()
	mustCall(t, c, post("/", "short"), "done") // in the only place there is
	second, cancel := context.WithCancel(t.Context())
	defer cancel()
	p.Resume(second)
	more <- "\r\nc\r\n"
	if n, err := p.Read(b); string(b[:n]) != "c" || err != nil {
		t.Fatalf("%q, %v", b[:n], err)
	}
	cancel()
	if _, err := p.Read(b); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	p.Close()
	if st := c.Stats(); st.Active != 0 {
		t.Errorf("%+v", st)
	}
}

// TestSuspendTooLate: a context that had ended before is told of.
func TestSuspendTooLate(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
		p.hold()
	})})
	ctx, cancel := context.WithCancel(t.Context())
	var p h1.Response
	if err := c.Do(ctx, post("/"), &p); err != nil {
		t.Fatal(err)
	}
	cancel()
	if p.Suspend() {
		t.Error("suspended although its context has ended")
	}
	p.Close()
	if st := c.Stats(); st.Active != 0 || st.Idle != 0 {
		t.Errorf("%+v", st)
	}
}

// TestSuspendAtTheEnd: what is over already is neither harmed nor counted twice, and an aborted client ends what was set aside.
func TestSuspendAtTheEnd(t *testing.T) {
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		for {
			if body, ok := p.request(); !ok {
				return
			} else if body == "cut" {
				p.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab")
				continue
			}
			p.say(answer("all"))
		}
	})})
	var p h1.Response
	if err := c.Do(t.Context(), post("/"), &p); err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(&p); string(b) != "all" || err != nil || !p.Suspend() {
		t.Fatalf("%q, %v", b, err)
	}
	p.Resume(t.Context())
	p.Close()
	if st := c.Stats(); st.Active != 0 || st.Idle != 1 {
		t.Errorf("%+v", st)
	}
	if err := c.Do(t.Context(), post("/", "cut"), &p); err != nil {
		t.Fatal(err)
	}
	p.Suspend()
	c.Abort()
	p.Resume(t.Context())
	if _, err := io.ReadAll(&p); !errors.Is(err, h1.ErrClosed) {
		t.Errorf("after Abort: %v", err)
	}
	p.Close()
	if st := c.Stats(); st.Active != 0 {
		t.Errorf("%+v", st)
	}
}

// TestWaker ends a Read that waits, and the next one when none does, until it rests; also of a response that is set aside.
func TestWaker(t *testing.T) {
	more := make(chan string)
	c := client(t, h1.Options{Addr: serve(t, func(p *peer) {
		p.request()
		p.say("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n")
		for s := range more {
			p.say(s)
		}
		p.hold()
	})})
	defer close(more)
	var p h1.Response
	if err := c.Do(t.Context(), post("/"), &p); err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	var w h1.Waker
	p.SetTimeout(time.Hour)
	p.SetWaker(&w)
	woken := func(when string) {
		t.Helper()
		if n, err := p.Read(make([]byte, 9)); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("%s: %d bytes, %v", when, n, err)
		}
	}
	go w.Wake()
	woken("while it waits, or before")
	woken("until it rests")
	w.Rest()
	p.Suspend()
	w.Wake()
	p.Resume(t.Context())
	woken("set aside")
	w.Rest()
	more <- "whole"
	b := make([]byte, 9)
	if n, err := p.Read(b); string(b[:n]) != "whole" || err != nil {
		t.Fatalf("%q, %v", b[:n], err)
	}
}
