package front

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/seal"
)

// handlers are front halves of replicas on one backend.
func handlers(t *testing.T, n int) []*Handler {
	t.Helper()
	key := make([]byte, seal.KeySize)
	rand.Read(key)
	ring, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	shared := memory.New()
	all := make([]*Handler, n)
	for i := range all {
		node := cluster.New(cluster.Options{Backend: shared, Ring: func() *seal.Ring { return ring }})
		t.Cleanup(node.Close)
		gw := gateway.New(gateway.Options{Node: node})
		t.Cleanup(gw.Close)
		all[i] = New(Options{Gateway: gw, Node: node, Log: slog.New(slog.DiscardHandler), Ring: ring})
	}
	return all
}

func newTestSession() *session {
	s := &session{expires: time.Now().Add(time.Hour), principal: "p"}
	rand.Read(s.id[:])
	return s
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(20 * time.Second); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// TestSubscriptions made at one replica are heard of where the session's stream is, and loaded where it comes later.
func TestSubscriptions(t *testing.T) {
	t.Parallel()
	h := handlers(t, 3)
	s := newTestSession()
	ctx := t.Context()
	var changes atomic.Int32
	leave := h[0].follow(ctx, s, func() { changes.Add(1) }, func(err error) { t.Errorf("ended: %v", err) })
	defer leave()
	for _, uri := range []string{"b:2", "a:1", "a:1"} {
		if err := h[1].subscribe(ctx, s, uri, 2); err != nil {
			t.Fatal(err)
		}
	}
	if err := h[1].subscribe(ctx, s, "c:3", 2); errs.Of(err).Kind != errs.Overloaded {
		t.Errorf("one more: %v", err)
	}
	want := []string{"a:1", "b:2"}
	eventually(t, "subscriptions at the stream", func() bool { return slices.Equal(h[0].sessions.subscribed(s.id), want) })
	h[2].learn(ctx, "token", s)
	if got := h[2].sessions.subscribed(s.id); !slices.Equal(got, want) || h[2].opened.find(s.id) == nil {
		t.Errorf("loaded %v", got)
	}
	if err := h[2].unsubscribe(ctx, s, "b:2"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "unsubscribing at the stream", func() bool { return slices.Equal(h[0].sessions.subscribed(s.id), want[:1]) })
	eventually(t, "changes", func() bool { return changes.Load() == 3 })
	if n := h[0].sessions.urisOf["p"]; n != 1 {
		t.Errorf("%d URIs of the principal are counted", n)
	}
	h[0].sessions.forget(s.id)
	if len(h[0].sessions.urisOf) > 0 || h[0].sessions.uris != 0 {
		t.Error("a forgotten session's URIs are counted")
	}
}

// TestOneStream: a newer stream of a session ends the older one, wherever it is; and so does the session's end.
func TestOneStream(t *testing.T) {
	t.Parallel()
	h := handlers(t, 3)
	s := newTestSession()
	ctx := t.Context()
	ended := make([]chan error, 4)
	follow := func(i, at int) func() {
		ended[i] = make(chan error, 4)
		return h[at].follow(ctx, s, func() {}, func(err error) { ended[i] <- err })
	}
	defer follow(0, 0)()
	defer follow(1, 0)()
	if err := <-ended[0]; !errors.Is(err, errNewerStream) {
		t.Error(err)
	}
	defer follow(2, 1)()
	if err := <-ended[1]; !errors.Is(err, errNewerStream) {
		t.Error(err)
	}
	other := newTestSession()
	defer h[0].follow(ctx, other, func() {}, func(err error) { t.Errorf("another session's stream ended: %v", err) })()
	if len(ended[2]) > 0 {
		t.Error("the newest stream ended")
	}
	if err := h[2].endSession(ctx, s); err != nil {
		t.Fatal(err)
	}
	if err := <-ended[2]; !errors.Is(err, errSessionEnded) {
		t.Error(err)
	}
}

// TestStreamOfEndedSession: a stream that opens while its session is ended ends too.
func TestStreamOfEndedSession(t *testing.T) {
	t.Parallel()
	h := handlers(t, 1)[0]
	s := newTestSession()
	if err := h.endSession(t.Context(), s); err != nil {
		t.Fatal(err)
	}
	var ended error
	defer h.follow(t.Context(), s, func() {}, func(err error) { ended = err })()
	if !errors.Is(ended, errSessionEnded) {
		t.Errorf("got %v", ended)
	}
}

// TestCancelledIDIsBounded: what one client makes up is not sent to all replicas, however long it is.
func TestCancelledIDIsBounded(t *testing.T) {
	t.Parallel()
	h := handlers(t, 2)
	s := newTestSession()
	long := `"` + strings.Repeat("x", requestIDMost) + `"`
	var cancelled atomic.Int32
	short := make(chan struct{})
	h[1].running.add(s.id, long, func() { cancelled.Add(1) })
	h[1].running.add(s.id, "1", func() { close(short) })
	for _, id := range []string{long, "1"} {
		if err := h[0].cancel(t.Context(), s, id); err != nil {
			t.Fatal(err)
		}
	}
	if <-short; cancelled.Load() != 0 {
		t.Error("the long id was told")
	}
	if err := h[1].cancel(t.Context(), s, long); err != nil || cancelled.Load() != 1 {
		t.Errorf("where the request runs: %v", err)
	}
}

// TestLocalSession: the session of a stream of this replica concerns no other.
func TestLocalSession(t *testing.T) {
	t.Parallel()
	h := handlers(t, 2)
	s := newTestSession()
	s.local = true
	ctx := t.Context()
	if err := h[0].setLevel(ctx, s, "error"); err != nil {
		t.Fatal(err)
	}
	if err := h[0].subscribe(ctx, s, "a:1", 1); err != nil {
		t.Fatal(err)
	}
	if f, err := h[1].facts(ctx, s); err != nil || f.level != "" || f.uris != nil {
		t.Errorf("%+v %v", f, err)
	}
	h[0].reconnected()
	if h[0].sessions.level(s.id) != "error" || len(h[0].sessions.subscribed(s.id)) != 1 {
		t.Error("the facts of a local session were lost")
	}
}

// TestSessionTableIsBounded, and who fills it up does not cost others what is known of their sessions.
func TestSessionTableIsBounded(t *testing.T) {
	t.Parallel()
	for name, fill := range map[string]func(*sessionTable, *session){
		"levels": func(table *sessionTable, s *session) { table.setLevel(s, "error") },
		"ends":   (*sessionTable).end,
	} {
		var table sessionTable
		ended, lives := newTestSession(), newTestSession()
		lives.principal, ended.principal = "q", "q"
		table.end(ended)
		table.watch(lives, "a:1")
		for i := range sessionsMost + 10 {
			s := &session{expires: time.Now().Add(time.Hour), principal: "p"}
			copy(s.id[:], fmt.Sprintf("%016d", i))
			fill(&table, s)
		}
		if len(table.m) > sessionsMost || !table.ended(ended.id) || len(table.subscribed(lives.id)) != 1 {
			t.Errorf("%s: %d sessions are kept, or another's were forgotten", name, len(table.m))
		}
	}
}

// TestEndedSessionsDoNotExpire, and take no place of others that do, also of very many.
func TestEndedSessionsDoNotExpire(t *testing.T) {
	t.Parallel()
	h := handlers(t, 1)[0]
	begin := func() *session {
		s := newTestSession()
		h.expiries.add(s, func() {})
		return s
	}
	h.lost(t.Context(), begin())
	h.over(begin())
	for range 2*sessionsMost + 10 {
		h.expiries.drop(begin().id)
		if n := len(h.expiries.queue); n > 2*sessionsMost {
			t.Fatalf("%d are kept", n)
		}
	}
	last := begin()
	if got := h.expiries.due(last.expires); len(got) != 1 || got[0] != last.id {
		t.Errorf("%d expire, not just the one that was not ended", len(got))
	}
	for range sessionsMost + 10 {
		last = begin()
	}
	if got := h.expiries.due(last.expires); len(got) != sessionsMost {
		t.Errorf("%d of the most expire", len(got))
	}
	if n := len(h.expiries.live) + len(h.expiries.queue); n != 0 {
		t.Errorf("%d are left", n)
	}
}

// TestHeardWhileLoading: what is told while a session is loaded is not lost.
func TestHeardWhileLoading(t *testing.T) {
	t.Parallel()
	var table sessionTable
	s := newTestSession()
	done := table.loading(s)
	since := table.now()
	table.setLevel(s, "error")
	if ok, _ := table.replace(s.id, sessionFacts{level: "info"}, since); ok || table.level(s.id) != "error" {
		t.Error("an older level replaced a newer one")
	}
	if ok, _ := table.replace(s.id, sessionFacts{level: "alert"}, table.now()); !ok || table.level(s.id) != "alert" {
		t.Error("the present level was not taken")
	}
	if done(); table.known(s.id) != nil {
		t.Error("the session is still being loaded")
	}
}

// TestPanicIsContained: what goes wrong with one message of a stream ends neither the others nor the stream.
func TestPanicIsContained(t *testing.T) {
	t.Parallel()
	h := handlers(t, 1)[0]
	h.o.Gateway = gateway.New(gateway.Options{Node: h.o.Node, Log: h.o.Log})
	defer h.o.Gateway.Close()
	st := &stream{h: h, calls: map[*streamCall]struct{}{}, request: identity.Request{Header: http.Header{}}}
	st.ctx, st.end = context.WithCancelCause(t.Context())
	defer st.end(nil)
	// The stream has nowhere to write an answer to.
	if err := st.take(t.Context(), []byte(`{"jsonrpc":"2.0","id":1,"method":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	st.running.Wait()
	if len(st.calls) != 0 {
		t.Error("the call is still counted")
	}
}
