package testenv

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"sync"
	"testing"
)

// Ear is a client's open stream for change notices.
type Ear struct {
	// Status and Header are those of the answer.
	Status int
	Header http.Header

	t      testing.TB
	cancel context.CancelFunc
	ended  chan struct{}
	mu     sync.Mutex
	heard  []json.RawMessage
	err    error
}

// Notice is a message that an ear heard.
type Notice struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params struct {
		URI           string                     `json:"uri"`
		Notifications Filter                     `json:"notifications"`
		Meta          map[string]json.RawMessage `json:"_meta"`
	} `json:"params"`
	Result struct {
		ResultType string                     `json:"resultType"`
		Meta       map[string]json.RawMessage `json:"_meta"`
	} `json:"result"`
	Error json.RawMessage `json:"error"`
	Raw   json.RawMessage `json:"-"`
}

// Subscription is the raw subscriptionId of the notice.
func (n *Notice) Subscription() string {
	if id := n.Params.Meta[metaPrefix+"subscriptionId"]; id != nil {
		return string(id)
	}
	return string(n.Result.Meta[metaPrefix+"subscriptionId"])
}

// Listen opens subscriptions/listen with an id and a raw filter.
func (c *Client) Listen(id, filter string) *Ear {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s, err := c.Open(ctx, Request{ID: id, Method: "subscriptions/listen", Members: `"notifications":` + filter})
	if err != nil {
		cancel()
		c.t.Fatalf("listen: %v", err)
	}
	return newEar(c.t, s, cancel)
}

// Hear opens the stream of a legacy session.
func (c *Client) Hear() *Ear {
	c.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	r.Header = c.headers(&Record{})
	r.Header.Del("Content-Type")
	r.Header.Set("Accept", "text/event-stream")
	resp, err := c.http.Do(r) //nolint:bodyclose // the ear does
	if err != nil {
		cancel()
		c.t.Fatalf("GET: %v", err)
	}
	return newEar(c.t, &Stream{Status: resp.StatusCode, Header: resp.Header, body: resp.Body, lines: bufio.NewReader(resp.Body)}, cancel)
}

func newEar(t testing.TB, s *Stream, cancel context.CancelFunc) *Ear {
	e := &Ear{Status: s.Status, Header: s.Header, t: t, cancel: cancel, ended: make(chan struct{})}
	t.Cleanup(e.Close)
	go func() {
		defer close(e.ended)
		defer s.Close()
		for {
			m, err := s.Next()
			e.mu.Lock()
			if err == nil {
				e.heard = append(e.heard, m)
			}
			e.err = err
			e.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return e
}

// Close leaves.
func (e *Ear) Close() {
	e.cancel()
	<-e.ended
}

// Heard are the messages so far; with a method only those of it.
func (e *Ear) Heard(method string) (out []Notice) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, raw := range e.heard {
		n := Notice{Raw: raw}
		if err := json.Unmarshal(raw, &n); err != nil {
			e.t.Errorf("no message: %s", raw)
		}
		if method == "" || n.Method == method {
			out = append(out, n)
		}
	}
	return out
}

// Await waits for the nth message of a method, counted from 1.
func (e *Ear) Await(method string, n int) Notice {
	e.t.Helper()
	Eventually(e.t, method, func() bool { return len(e.Heard(method)) >= n })
	return e.Heard(method)[n-1]
}

// Ended waits for the end of the stream, and fails the test if it broke.
func (e *Ear) Ended() {
	e.t.Helper()
	Eventually(e.t, "end of the stream", func() bool {
		select {
		case <-e.ended:
			return true
		default:
			return false
		}
	})
	e.mu.Lock()
	defer e.mu.Unlock()
	if !errors.Is(e.err, io.EOF) {
		e.t.Errorf("the stream broke: %v", e.err)
	}
}
