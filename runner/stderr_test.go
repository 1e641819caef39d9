package runner_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/runner"
)

// records collects log records.
type records struct {
	mu  sync.Mutex
	all []map[string]any
}

func (r *records) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		return 0, err
	}
	r.all = append(r.all, m)
	return len(b), nil
}

func (r *records) of(message string) (found []map[string]any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range r.all {
		if m["msg"] == message {
			found = append(found, m)
		}
	}
	return found
}

func logger(level slog.Level) (*records, *slog.Logger) {
	r := &records{}
	return r, slog.New(slog.NewJSONHandler(r, &slog.HandlerOptions{Level: level}))
}

// A flood on stderr slows the server down, but does not block it nor fill the log, and its end stays in the ring.
func TestFlood(t *testing.T) {
	const lines = 500_000
	log, l := logger(slog.LevelInfo)
	began := time.Now()
	p := start(t, "flood 500000", runner.Options{Log: l})
	write(t, p, "still there?")
	if got := read(t, p); got != "still there?" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("more than 6 MB were read in %v", took)
	}
	eventually(t, "the last line is in the ring", func() bool {
		last := p.Stderr()
		return len(last) > 0 && last[len(last)-1] == "flood 499999"
	})
	last := p.Stderr()
	if len(last) != 20 || last[0] != "flood 499980" {
		t.Errorf("ring of %d lines from %q", len(last), last[0])
	}
	counted := func() int {
		n := len(log.of("stderr"))
		for _, m := range log.of("stderr lines suppressed") {
			n += int(m["count"].(float64))
		}
		return n
	}
	eventually(t, "all lines are logged or counted, without the end of the process", func() bool { return counted() == lines })
	if n := len(log.of("stderr")); n > 50*30 {
		t.Errorf("%d lines logged", n)
	}
	if m := log.of("stderr")[0]; m["server"] != "test" || m["line"] != "flood 0" || m["pid"] != float64(p.PID()) {
		t.Errorf("record %v", m)
	}
}

// A server that is stopped amid a flood may write the rest of it at full speed, and ends in time by itself.
func TestStopInAFlood(t *testing.T) {
	log, l := logger(slog.LevelInfo)
	p := start(t, "flood 17000 4000", runner.Options{Log: l, Grace: 25 * time.Second}) // at the speed of a flood they take longer
	eventually(t, "lines are suppressed", func() bool { return len(log.of("stderr lines suppressed")) > 0 })
	if err := p.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	if e, ok := errors.AsType[*runner.ExitError](p.Err()); !ok || e.Code != 0 {
		t.Errorf("it ended with %v", p.Err())
	}
}

// The count of suppressed lines is logged too when the process ends within the second.
func TestSuppressedAtEnd(t *testing.T) {
	log, l := logger(slog.LevelDebug)
	p := start(t, "complain "+strings.Repeat(`x\n`, 70), runner.Options{Log: l})
	ended(t, p)
	if got := log.of("stderr lines suppressed"); len(log.of("stderr")) != 50 || len(got) != 1 || got[0]["count"] != float64(20) {
		t.Errorf("%d logged, %v", len(log.of("stderr")), got)
	}
	if len(log.of("server process started")) != 1 || len(log.of("server process ended")) != 1 {
		t.Error("start and end are not in the debug log")
	}
}

func TestStderrLines(t *testing.T) {
	log, l := logger(slog.LevelInfo)
	p := start(t, `complain \n  \r\nplain\r\n`+strings.Repeat("y", 5000)+`\n\xffbad\x00\x07\nlast`, runner.Options{Log: l})
	e := ended(t, p)
	want := []string{"plain", strings.Repeat("y", 4096), "\uFFFDbad", "last"}
	if diff := cmp.Diff(want, p.Stderr()); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, e.Stderr); diff != "" {
		t.Error(diff)
	}
	if got := log.of("stderr"); len(got) != 4 || got[1]["cut"] != true || got[0]["cut"] != nil {
		t.Errorf("records %v", got)
	}
}

// A server that prints its credentials does not carry them into logs and errors.
func TestStderrSecrets(t *testing.T) {
	var text bytes.Buffer
	c := command(`complain using token-0123456789 and token-0123456789-long at /home/someone\n`)
	c.Env = append(c.Env, "API_KEY=token-0123456789", "OTHER_KEY=token-0123456789-long", "SHORT=at", "HOME=/home/someone")
	p, err := runner.Start(c, runner.Options{Log: slog.New(slog.NewTextHandler(&text, nil))})
	if err != nil {
		t.Fatal(err)
	}
	e := ended(t, p)
	const want = "using [API_KEY] and [OTHER_KEY] at /home/someone"
	if diff := cmp.Diff([]string{want}, e.Stderr); diff != "" {
		t.Error(diff)
	}
	if strings.Contains(text.String()+e.Error(), "0123456789") || !strings.Contains(text.String(), want) {
		t.Errorf("log %s\nerror %v", &text, e)
	}
	if err := p.Stop(context.Background()); err != nil {
		t.Error(err)
	}
}

// What a server prints goes to the journal with its secrets blotted out, also what it prints to stdout by mistake.
func TestJournalOfAServer(t *testing.T) {
	j := runner.NewJournal(100, 1<<20)
	c := command(`complain first\nthe token is hunter2hunter2\n\nlast \x1b[31mred`)
	c.Env = append(c.Env, "TOKEN=hunter2hunter2")
	p, err := runner.Start(c, runner.Options{Journal: j})
	if err != nil {
		t.Fatal(err)
	}
	ended(t, p)
	wantLines(t, j.Last(10), "first", "the token is [TOKEN]", "last [31mred")
	p.Fault([]byte("Server listening, token hunter2hunter2"))
	p.Fault(bytes.Repeat([]byte("x"), 1<<20))
	last := j.Last(2)
	if last[0].Text != "Server listening, token [TOKEN]" || !last[0].Fault || last[0].PID != p.PID() || len(last[1].Text) != 4<<10 {
		t.Errorf("got %.200v", last)
	}
	if last := j.Last(3)[0]; last.Fault || last.PID != p.PID() {
		t.Errorf("got %v", last)
	}
	j.Hide(map[string]string{"another-secret": "theirs", "another-secret-2": "second", "short": "none"})
	p.Fault([]byte("a short word, another-secret-2, another-secret and hunter2hunter2"))
	wantLines(t, j.Last(1), "a short word, [second], [theirs] and [TOKEN]")
}
