package telemetry_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/telemetry"
)

const gathered = 64 << 10 // bytes of lines that wait

// pages are what was written, a write each.
type pages struct {
	mu   sync.Mutex
	each []string
	stop chan struct{} // not nil: writes wait for its end

	forget bool
}

func (p *pages) Write(b []byte) (int, error) {
	p.mu.Lock()
	stop := p.stop
	p.mu.Unlock()
	if stop != nil {
		<-stop
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.forget {
		p.each = append(p.each, string(b))
	}
	return len(b), nil
}

func (p *pages) read() (writes int, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.each), strings.Join(p.each, "")
}

// words are the messages of a log, in order.
func words(text string) string {
	var all []string
	for line := range strings.Lines(strings.NewReplacer(`"method":"`, "method=", `"msg":"`, "msg=", `"`, " ").Replace(text)) {
		_, rest, called := strings.Cut(line, "method=")
		if !called {
			_, rest, _ = strings.Cut(line, "msg=")
		}
		word, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
		all = append(all, word)
	}
	return strings.Join(all, " ")
}

// eachFormat runs a test for lines that are made when they are written, and for those that are made before.
func eachFormat(t *testing.T, test func(*testing.T, string)) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { test(t, format) })
		})
	}
}

// TestCallsAreGathered: lines of calls are written together, soon and in order with others, which are written at once.
func TestCallsAreGathered(t *testing.T) {
	eachFormat(t, func(t *testing.T, format string) {
		out := &pages{}
		log := telemetry.NewLog(out, format)
		log.Configure(&v1.Log{Level: "info"})
		app := log.Logger()
		calls := log.Calls()
		call := func(name string) { calls.Tell(slog.LevelInfo, &telemetry.Call{At: time.Now(), Method: name}) }
		wrote := func(want string, writes int) {
			t.Helper()
			synctest.Wait()
			if n, text := out.read(); words(text) != want || n != writes {
				t.Errorf("%d writes of %q, want %d of %q", n, words(text), writes, want)
			}
		}
		time.Sleep(time.Second)
		call("a") // the first after a while
		wrote("a", 1)
		for _, name := range []string{"b1", "b2", "b3"} {
			call(name)
		}
		wrote("a", 1)
		time.Sleep(60 * time.Millisecond)
		wrote("a b1 b2 b3", 2)
		call("c")
		app.Info("d")
		wrote("a b1 b2 b3 c d", 3)
		if calls.Enabled(slog.LevelDebug) || !calls.Enabled(slog.LevelInfo) {
			t.Error("another level counts")
		}
		call("e")
		log.Close()
		wrote("a b1 b2 b3 c d e", 4)
		call("f")
		wrote("a b1 b2 b3 c d e f", 5)
		time.Sleep(time.Second)
		wrote("a b1 b2 b3 c d e f", 5)
	})
}

// TestGatheredAreNotLost: whoever logs more than is written waits for room, and none is lost.
func TestGatheredAreNotLost(t *testing.T) {
	t.Parallel()
	out := &pages{}
	log := telemetry.NewLog(out, "json")
	log.Configure(&v1.Log{Level: "info"})
	calls := log.Calls()
	const callers, each, size = 4, 200, 1 << 10
	long := strings.Repeat("x", size)
	var logged sync.WaitGroup
	for range callers {
		logged.Go(func() {
			for range each {
				calls.Tell(slog.LevelInfo, &telemetry.Call{At: time.Now(), Method: "tools/call", Tool: long})
			}
		})
	}
	logged.Wait()
	log.Close()
	n, text := out.read()
	if got := strings.Count(text, "\n"); got != callers*each || n > callers*each/10 {
		t.Errorf("%d lines in %d writes", got, n)
	}
	for _, page := range out.each {
		if len(page) > gathered+size+200 {
			t.Errorf("%d bytes waited", len(page))
		}
	}
}

// TestNobodyTakesTheLog: where nobody takes lines, everybody goes on after a second, and it is told how many were dropped once
// lines are taken again.
func TestNobodyTakesTheLog(t *testing.T) {
	eachFormat(t, func(t *testing.T, format string) {
		out := &pages{stop: make(chan struct{})}
		log := telemetry.NewLog(out, format)
		log.Configure(&v1.Log{Level: "info"})
		app, calls := log.Logger(), log.Calls()
		began := time.Now()
		app.Info("a")
		if took := time.Since(began); took != time.Second {
			t.Errorf("the first took %v", took)
		}
		began = time.Now()
		long := strings.Repeat("x", 1<<10)
		for range 100 {
			calls.Tell(slog.LevelInfo, &telemetry.Call{At: time.Now(), Method: long})
			app.Info("b")
		}
		log.Close()
		if took := time.Since(began); took != 0 {
			t.Errorf("others took %v", took)
		}
		close(out.stop)
		synctest.Wait()
		_, text := out.read()
		kept := strings.Count(text, "\n") - 1
		want := fmt.Sprintf(`msg="lines of the log were dropped: nobody took them" lines=%d component=app`, 201-kept)
		if format == "json" {
			want = fmt.Sprintf(`"msg":"lines of the log were dropped: nobody took them","lines":%d,"component":"app"`, 201-kept)
		}
		if !strings.Contains(text, want) || len(text) < gathered*3/4 || len(text) > gathered+4<<10 {
			t.Errorf("%d bytes, %d lines, no %s in the end: %s", len(text), kept, want, text[max(0, len(text)-200):])
		}
		app.Info("c")
		if _, now := out.read(); !strings.HasSuffix(words(now), " c") {
			t.Errorf("afterwards: %s", now[len(text):])
		}
	})
}

// TestGatheredAreWhole: lines that are logged side by side are whole.
func TestGatheredAreWhole(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewLog(&out, "text")
	log.Configure(&v1.Log{Level: "info"})
	var logged sync.WaitGroup
	for i := range 8 {
		logged.Go(func() {
			calls, others := log.Calls(), log.Logger().With("component", "upstream")
			for range 100 {
				if i%2 == 0 {
					calls.Tell(slog.LevelInfo, &telemetry.Call{At: time.Now(), Method: "tools/call", Outcome: "ok"})
				} else {
					others.Info("call", "method", "tools/call")
				}
			}
		})
	}
	logged.Wait()
	log.Close()
	for line := range strings.Lines(out.String()) {
		if !strings.HasPrefix(line, "time=") || !strings.Contains(line, "msg=call method=tools/call ") || strings.Count(line, "=") < 5 {
			t.Errorf("line %q", line)
		}
	}
	if got := strings.Count(out.String(), "\n"); got != 800 {
		t.Errorf("%d lines", got)
	}
}
