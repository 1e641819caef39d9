package front_test

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// talker is a server whose tool logs at every level, and one whose tool holds its calls.
func talker(held chan *testenv.Call) testenv.Script {
	return testenv.Script{Tools: []string{testenv.Tool("talk"), testenv.Tool("hold")}, On: map[string]func(*testenv.Call){
		"tools/call talk": func(c *testenv.Call) { c.Text("level " + c.Meta("io.modelcontextprotocol/logLevel")) },
		"tools/call hold": func(c *testenv.Call) {
			held <- c
			c.Hang()
		},
	}}
}

func level(t *testing.T, c *testenv.Client, level string) *testenv.Reply {
	t.Helper()
	return c.Call("logging/setLevel", `"level":"`+level+`"`)
}

// TestLevelEverywhere: a log level set at one replica holds at all, also at those that see the session later.
func TestLevelEverywhere(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 3, talker(nil))
	c := f.client(0)
	one, two := f.at(1, c), f.at(2, c)
	one.Call("ping", "")
	for _, want := range []string{"error", "debug"} {
		if r := level(t, c, want); string(r.Result()) != "{}" {
			t.Fatal(r)
		}
		for _, at := range []*testenv.Client{c, one, two} {
			testenv.Eventually(t, "level "+want, func() bool { return at.Tool("one__talk", "{}").Texts() == `level "`+want+`"` })
		}
	}
	if other := f.client(1).Tool("one__talk", "{}"); other.Texts() != "level " {
		t.Errorf("another session: %v", other)
	}
}

// TestEndedEverywhere: a session ended at one replica is gone at all, and its calls with it.
func TestEndedEverywhere(t *testing.T) {
	t.Parallel()
	held := make(chan *testenv.Call, 2)
	f, _ := serve(t, 3, talker(held))
	c := f.client(0)
	calls := []*testenv.Client{f.at(1, c), c}
	for _, at := range calls {
		s := make(chan *testenv.Reply, 1)
		go func() {
			r, _ := at.Try(testenv.Within(t, testenv.Patience), testenv.Request{Method: "tools/call", Members: `"name":"one__hold"`})
			s <- r
		}()
		call := <-held
		defer func() {
			<-call.Done
			if r := <-s; r != nil && r.Texts() != "" {
				t.Errorf("%v", r)
			}
		}()
	}
	if code := f.at(1, c).Delete(); code != 204 {
		t.Fatalf("DELETE: HTTP %d", code)
	}
	for i := range 3 {
		testenv.Eventually(t, "end of the session", func() bool { return f.at(i, c).Call("ping", "").Status == 404 })
	}
	if f.rejected("session") < 3 {
		t.Error("the use of an ended session is not counted")
	}
}

// TestCancelledElsewhere: a request is cancelled wherever it runs, but not another session's.
func TestCancelledElsewhere(t *testing.T) {
	t.Parallel()
	held := make(chan *testenv.Call, 1)
	f, _ := serve(t, 2, talker(held))
	c, other := f.client(0), f.client(0)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = c.Try(testenv.Within(t, testenv.Patience), testenv.Request{ID: `"h"`, Method: "tools/call", Members: `"name":"one__hold"`})
	}()
	call := <-held
	notice := []byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"h"}}`)
	if r := f.at(1, other).Post(notice); r.Status != 202 {
		t.Errorf("%v", r)
	}
	if r := other.Tool("one__talk", "{}"); r.Texts() == "" {
		t.Errorf("%v", r)
	}
	select {
	case <-call.Done:
		t.Error("another session cancelled the call")
	default:
	}
	if r := f.at(1, c).Post(notice); r.Status != 202 {
		t.Errorf("%v", r)
	}
	<-call.Done
	<-ended
}

// TestClusterAway: while the cluster is away calls go on, what needs it says so, and afterwards everything is known again.
func TestClusterAway(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, talker(make(chan *testenv.Call, 1)))
	c, ended := f.client(0), f.client(0)
	other := f.at(1, c)
	f.at(1, ended).Call("ping", "")
	level(t, c, "info")
	testenv.Eventually(t, "level", func() bool { return strings.Contains(other.Tool("one__talk", "{}").Texts(), "info") })
	for _, r := range f.replicas {
		r.cluster.leave()
	}
	for _, at := range []*testenv.Client{c, other, f.client(1), f.at(0, f.client(1))} {
		if r := at.Tool("one__talk", "{}"); !strings.HasPrefix(r.Texts(), "level ") {
			t.Errorf("%v", r)
		}
	}
	if r := level(t, c, "error"); r.Status != 200 || !strings.Contains(r.String(), "not reachable") {
		t.Errorf("setLevel: %v", r)
	}
	if r := c.Tool("one__talk", "{}"); r.Texts() != `level "info"` {
		t.Errorf("the level that was refused: %v", r)
	}
	if r := c.Post([]byte(`{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":"unknown here"}}`)); r.Status != 503 {
		t.Errorf("cancelled: %v", r)
	}
	if code := ended.Delete(); code != 503 {
		t.Errorf("DELETE: HTTP %d", code)
	}
	if r := ended.Call("ping", ""); r.Status != 404 {
		t.Errorf("the session ended here: %v", r)
	}
	f.replicas[0].cluster.lose(t)
	for _, r := range f.replicas {
		r.cluster.comeBack()
	}
	testenv.Eventually(t, "end of the session", func() bool { return f.at(1, ended).Call("ping", "").Status == 404 })
	testenv.Eventually(t, "level at a replica", func() bool { return strings.Contains(f.at(1, c).Tool("one__talk", "{}").Texts(), "info") })
	if r := level(t, other, "alert"); string(r.Result()) != "{}" {
		t.Errorf("setLevel: %v", r)
	}
	testenv.Eventually(t, "level", func() bool { return strings.Contains(c.Tool("one__talk", "{}").Texts(), "alert") })
}

// TestMissedWhileAway: what one replica did not hear is loaded when it is back.
func TestMissedWhileAway(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, talker(nil))
	c, ended := f.client(0), f.client(0)
	here, there := f.at(1, c), f.at(1, ended)
	here.Call("ping", "")
	there.Call("ping", "")
	f.replicas[1].cluster.leave()
	level(t, c, "error")
	if code := ended.Delete(); code != 204 {
		t.Fatalf("DELETE: HTTP %d", code)
	}
	if r := there.Call("ping", ""); r.Status != 200 {
		t.Errorf("a replica that cannot know: %v", r)
	}
	f.replicas[1].cluster.comeBack()
	testenv.Eventually(t, "level", func() bool { return strings.Contains(here.Tool("one__talk", "{}").Texts(), "error") })
	testenv.Eventually(t, "end of the session", func() bool { return there.Call("ping", "").Status == 404 })
}

// TestAnswerWhileAway: an answer for another replica is refused as long as that cannot be reached, and may be sent again.
func TestAnswerWhileAway(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, testenv.Asker(testenv.Modern))
	c := f.client(0)
	s := open(t, c, "roots")
	id := idOf(t, next(t, s))
	body := result(id, `"roots":[{"uri":"file:///x"}]`)
	f.replicas[1].cluster.leave()
	if r := f.at(1, c).Post(body); r.Status != 503 || !strings.Contains(r.String(), "again later") {
		t.Errorf("%v", r)
	}
	f.replicas[1].cluster.comeBack()
	testenv.Eventually(t, "answer taken", func() bool { return f.at(1, c).Post(body).Status == 202 })
	if m := next(t, s); !strings.Contains(m, "file:///x") {
		t.Error(m)
	}
	if n := f.rejected("question"); n > 0 {
		t.Errorf("%d tokens were rejected", n)
	}
}

// TestAskerIsGone: an answer to a replica that has ended is one to a question that nobody asks any more.
func TestAskerIsGone(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, testenv.Asker(testenv.Modern))
	c := f.client(0)
	id := idOf(t, next(t, open(t, c, "roots")))
	f.replicas[0].node.Close()
	if r := f.at(1, c).Post(result(id, `"roots":[]`)); r.Status != 400 {
		t.Errorf("%v", r)
	}
}

// TestRotation: sessions and open questions outlive a change of keys as long as their key is in the ring.
func TestRotation(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, testenv.Asker(testenv.Modern))
	first, second := newKey(), newKey()
	f.rotate(first)
	c := f.client(0)
	s := open(t, c, "trip")
	id := idOf(t, next(t, s))
	answer := `"action":"accept","content":{"answer":"Ulm"}`
	f.rotate(second, first)
	if r := f.at(1, c).Post(result(id, answer)); r.Status != 202 {
		t.Errorf("an answer to a question of before: %v", r)
	}
	id = idOf(t, next(t, s))
	fresh := f.client(1)
	f.rotate(second)
	for i := range 2 {
		if r := f.at(i, c).Call("ping", ""); r.Status != 404 {
			t.Errorf("a session whose key is gone, at replica %d: %v", i, r)
		}
		if r := f.at(i, fresh).Call("ping", ""); r.Status != 200 {
			t.Errorf("a session of the new key, at replica %d: %v", i, r)
		}
	}
	if r := f.at(1, c).Post(result(id, answer)); r.Status != 404 {
		t.Errorf("an answer in a session whose key is gone: %v", r)
	}
	f.rotate(second, first)
	if r := f.at(1, c).Post(result(id, answer)); r.Status != 202 {
		t.Errorf("an answer after the key came back: %v", r)
	}
	if m := next(t, s); !strings.Contains(m, "Ulm, Ulm") {
		t.Error(m)
	}
}
