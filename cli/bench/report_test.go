package bench_test

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/cli/bench"
)

// shown is a report with something in all of its parts, some of it hostile.
func shown(t *testing.T) *bench.Report {
	t.Helper()
	var r *bench.Report
	synctest.Test(t, func(t *testing.T) {
		s := newServer(func(_ context.Context, n int64, w http.ResponseWriter, id json.RawMessage) {
			time.Sleep(time.Duration(n%10) * time.Millisecond)
			if n%5 == 0 {
				result(w, id, `{"isError":true,"content":[{"type":"text","text":"</td><script>alert(1)</script>"}]}`)
				return
			}
			result(w, id, `{}`)
		})
		r = s.load(t.Context(), t, bench.DefaultMix, bench.Options{Rate: 100, Duration: 5 * time.Second, P99: time.Second})
	})
	return r
}

// TestPage: the page needs nothing from elsewhere, runs nothing, and has what was measured.
func TestPage(t *testing.T) {
	var b bytes.Buffer
	if err := shown(t).WriteHTML(&b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, not := range []string{"<script", "src=", "href=", "@import", "url(", "NaN", "Inf", "ZgotmplZ"} {
		if strings.Contains(page, not) {
			t.Errorf("the page has %q", not)
		}
	}
	for _, want := range []string{"isError", "&lt;script&gt;", "p99 at most 1s", "default-src 'none'", "open loop, 100/s for 5s"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	paths := regexp.MustCompile(`<path class="mark [a-z]+" d="(M[-0-9.]+ [-0-9.]+(L[-0-9.]+ [-0-9.]+)+)"`).FindAllString(page, -1)
	if len(paths) != 6 {
		t.Errorf("%d lines are drawn, want 3 of latency, 1 of percentiles, 1 of answers, 1 of errors", len(paths))
	}
}

// TestEmptyPage: a report of nothing can be shown.
func TestEmptyPage(t *testing.T) {
	var b bytes.Buffer
	if err := new(bench.Report).WriteHTML(&b); err != nil || strings.Contains(b.String(), "NaN") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// TestJSON: the report can be read again, and all of it is there.
func TestJSON(t *testing.T) {
	r := shown(t)
	var b bytes.Buffer
	if err := r.WriteJSON(&b); err != nil {
		t.Fatal(err)
	}
	again := new(bench.Report)
	if err := json.Unmarshal(b.Bytes(), again); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(r, again); d != "" {
		t.Errorf("(-wrote +read):\n%s", d)
	}
	last := r.Curve[len(r.Curve)-1]
	if r.Curve[0].Percentile != 0 || last.Percentile < 99.7 || last.Ms != r.Latency.Max {
		t.Errorf("the curve reaches from %+v to %+v", r.Curve[0], last)
	}
	due := int64(0)
	for _, slot := range r.Timeline {
		due += slot.Due
	}
	if due != r.Answered {
		t.Errorf("%d requests are in the timeline, %d were answered", due, r.Answered)
	}
}
