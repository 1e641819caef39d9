package runner_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/runner"
)

func texts(lines []runner.Line) (all []string) {
	for _, l := range lines {
		text := l.Text
		if l.Lost > 0 {
			text = fmt.Sprintf("(%d lost) %s", l.Lost, text)
		}
		all = append(all, text)
	}
	return all
}

func wantLines(t *testing.T, got []runner.Line, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, texts(got)); diff != "" {
		t.Errorf("lines: %s", diff)
	}
}

func TestJournalKeepsTheLastLines(t *testing.T) {
	j := runner.NewJournal(3, 1000)
	wantLines(t, j.Last(10))
	for i := range 7 {
		j.Add(i, fmt.Sprint("line ", i))
	}
	wantLines(t, j.Last(10), "line 4", "line 5", "line 6")
	wantLines(t, j.Last(1), "line 6")
	wantLines(t, j.Last(0))
	if got := j.Last(1)[0]; got.PID != 6 || got.Fault || time.Since(got.Time) > time.Minute {
		t.Errorf("got %+v", got)
	}
}

func TestJournalBoundsBytes(t *testing.T) {
	j := runner.NewJournal(1000, 10)
	for _, text := range []string{"aaaa", "bbbb", "cc", "dd"} {
		j.Add(1, text)
	}
	wantLines(t, j.Last(10), "bbbb", "cc", "dd")
	j.Add(1, strings.Repeat("x", 9)+"ä")
	wantLines(t, j.Last(10), strings.Repeat("x", 9))
}

func TestNoJournal(t *testing.T) {
	var j *runner.Journal
	j.Add(1, "x")
	wantLines(t, j.Last(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for l := range j.Follow(ctx, 1) {
		t.Errorf("got %v", l)
	}
}

// A flood costs a bounded number of lines a second, and the next line tells how many are missing.
func TestJournalInAFlood(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := runner.NewJournal(10_000, 1<<20)
		for range 5000 {
			j.Add(1, "flood")
		}
		if n := len(j.Last(10_000)); n != 1000 {
			t.Errorf("%d lines kept", n)
		}
		time.Sleep(time.Second)
		j.Add(1, "calm")
		wantLines(t, j.Last(1), "(4000 lost) calm")
	})
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := runner.NewJournal(100, 1<<20)
		for i := range 5 {
			j.Add(1, fmt.Sprint("old ", i))
		}
		got := make(chan []runner.Line)
		for range 3 {
			go func() {
				var lines []runner.Line
				for l := range j.Follow(t.Context(), 2) {
					if lines = append(lines, l); l.Text == "end" {
						break
					}
				}
				got <- lines
			}()
		}
		synctest.Wait()
		j.Add(1, "new")
		synctest.Wait()
		j.Add(1, "end")
		for range 3 {
			wantLines(t, <-got, "old 3", "old 4", "new", "end")
		}
	})
}

func TestFollowEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := runner.NewJournal(100, 1<<20)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			for l := range j.Follow(ctx, 2) {
				t.Errorf("got %v", l)
			}
		}()
		synctest.Wait()
		cancel()
		<-done
	})
}

// A follower that does not keep up holds nobody up and is told what it missed.
func TestSlowFollower(t *testing.T) {
	j := runner.NewJournal(4, 1<<20)
	j.Add(1, "first")
	var got []runner.Line
	for l := range j.Follow(t.Context(), 1) {
		if got = append(got, l); l.Text == "first" {
			for i := range 10 {
				j.Add(1, fmt.Sprint("line ", i))
			}
		}
		if l.Text == "line 9" {
			break
		}
	}
	wantLines(t, got, "first", "(6 lost) line 6", "line 7", "line 8", "line 9")
}
