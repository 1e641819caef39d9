package system_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/internal/trace"
)

// sleepy has a tool that takes its time, and one that fails.
func sleepy(era testenv.Era) testenv.Script {
	return testenv.Script{
		Era: era, Tools: []string{testenv.Tool("nap"), testenv.Tool("bad")},
		On: map[string]func(*testenv.Call){
			"tools/call nap": func(c *testenv.Call) { time.Sleep(250 * time.Millisecond); c.Text("slept") },
			"tools/call bad": func(c *testenv.Call) { c.Complete(`"content":[],"isError":true`) },
		},
	}
}

type timed struct {
	Outcome string
	Total   float64
	Trace   string
	Gateway trace.Timing
}

// traced runs toolcrib trace.
func traced(t *testing.T, g *testenv.Gateway, key string, args ...string) (out timed, text string, err error) {
	t.Helper()
	text, err = command(t, key, append([]string{"trace", "--url", g.URL, "-o", "json"}, args...)...)
	_ = json.NewDecoder(strings.NewReader(text)).Decode(&out) // of what is none, all is empty
	return out, text, err
}

// TestTraceCommand: where the time of a call goes is shown for servers of all kinds, also where the answer is a stream.
func TestTraceCommand(t *testing.T) {
	t.Parallel()
	entries := map[string]any{}
	for _, era := range testenv.Eras {
		entries["far-"+era.String()] = testenv.HTTPServer(t, sleepy(era)).Entry()
		entries["near-"+era.String()] = testenv.StdioServer(t, sleepy(era)).Entry()
	}
	for _, alive := range []string{"15s", "100ms"} {
		t.Run("kept alive every "+alive, func(t *testing.T) {
			t.Parallel()
			g := testenv.Serve(t, testenv.Config{Entries: entries, More: withRoot(map[string]any{"keepAlive": alive})})
			testenv.Eventually(t, "all tools are known", func() bool { // else the first calls wait for that too
				return len(as(t, g, testenv.Modern, rootKey, "").Call("tools/list", "").Names("tools")) == 2*len(entries)
			})
			for server := range entries {
				for _, first := range []bool{true, false} {
					out, text, err := traced(t, g, rootKey, server+"__nap", "-a", "q=canary-77aa01")
					at := out.Gateway
					if err != nil || out.Outcome != "ok" || at.Server != server || len(out.Trace) != 32 {
						t.Errorf("%v: %s", err, text)
						continue
					}
					if at.Took < 0.25 || at.AtServer < 0.25 || at.AtServer > at.Took || at.Took > out.Total || len(at.Attempts) != 1 {
						t.Errorf("%s took %+v", server, at)
						continue
					}
					near := strings.HasPrefix(server, "near")
					if a := at.Attempts[0]; a.Took < 0.25 || a.At < 0 || a.At+a.Took > at.Took || (a.Host == "") != near || a.Version == "" {
						t.Errorf("%s: the attempt took %+v", server, a)
					}
					if near && first != (at.Start > 0) { // each caller has an instance of its own
						t.Errorf("%s: a start took %v", server, at.Start)
					}
					var names []string
					sum := 0.0
					for _, s := range at.Stages {
						names, sum = append(names, s.Name), sum+s.Took
					}
					for _, want := range []string{"identify", "read", "authorize", "forward"} {
						if !slices.Contains(names, want) {
							t.Errorf("%s: no stage %s among %v", server, want, names)
						}
					}
					if sum > at.Took || sum < at.Took-at.Stages[0].At-1e-3 {
						t.Errorf("%s: stages take %v of %v", server, sum, at.Took)
					}
					if strings.Contains(text, "canary") {
						t.Errorf("an argument is told: %s", text)
					}
				}
			}
		})
	}
}

// TestTraceCommandFails: a call that fails is shown too, and ends with a code of its own.
func TestTraceCommandFails(t *testing.T) {
	t.Parallel()
	c := testenv.One(testenv.HTTPServer(t, sleepy(testenv.Modern)))
	c.More = withRoot(nil)
	g := testenv.Serve(t, c)
	if out, text, err := traced(t, g, rootKey, "one__bad"); err == nil || out.Outcome != "tool_error" || !strings.Contains(text, "the tool reported an error") {
		t.Errorf("%v: %s", err, text)
	}
	if out, text, err := traced(t, g, rootKey, "none__such"); err == nil || out.Outcome != "error" || !strings.Contains(text, "unknown tool") {
		t.Errorf("%v: %s", err, text)
	}
	bad, _ := command(t, rootKey, "trace", "one__bad", "--url", g.URL)
	ends := map[int]bool{}
	for _, m := range regexp.MustCompile(`(?m)^(.{30,} +[0-9.]+ (?:s|ms|µs))(?:  .*)?$`).FindAllStringSubmatch(bad, -1) {
		ends[utf8.RuneCountInString(m[1])] = true
	}
	if len(ends) != 1 || !strings.Contains(bad, "(tool_error)") {
		t.Errorf("times end in columns %v:\n%s", ends, bad)
	}
	if text, err := command(t, rootKey, "trace", "one__nap", "--url", g.URL); err != nil || !strings.Contains(text, "server, 127.0.0.1:") || !strings.Contains(text, "█") {
		t.Errorf("%v: %s", err, text)
	}
	if _, text, err := traced(t, g, aliceKey, "one__nap"); err == nil || !strings.Contains(text, "timings:read") {
		t.Errorf("who may not know: %v: %s", err, text)
	}
}

// TestTimingHeader: it takes a right to know where the time goes, and nobody is told who did not ask.
func TestTimingHeader(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, sleepy(testenv.Modern))
	known, open := testenv.One(s), testenv.One(s)
	known.More = withRoot(nil)
	for name, row := range map[string]struct {
		config     testenv.Config
		key, value string
		status     int
		told       bool
	}{
		"may":                {known, rootKey, "1", http.StatusOK, true},
		"does not ask":       {known, rootKey, "", http.StatusOK, false},
		"may not":            {known, aliceKey, "1", http.StatusForbidden, false},
		"nobody":             {known, "", "1", http.StatusUnauthorized, false},
		"asks otherwise":     {known, rootKey, "yes", http.StatusBadRequest, false},
		"open to all who is": {open, "", "1", http.StatusOK, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := testenv.Serve(t, row.config)
			c := g.Modern("/mcp")
			c.Key = row.key
			header := http.Header{}
			if row.value != "" {
				header.Set(trace.HeaderTiming, row.value)
			}
			r := c.Do(testenv.Request{Method: "tools/call", Members: `"name":"one__bad","arguments":{}`, Header: header})
			if told := r.Header.Get(trace.HeaderTiming); r.Status != row.status || (told != "") != row.told {
				t.Errorf("%d, told %q: %s", r.Status, told, r)
			}
			for _, at := range s.Received("tools/call") {
				if at.Header.Get(trace.HeaderTiming) != "" {
					t.Error("the server is asked too")
				}
			}
		})
	}
}

// TestTraceCommandElsewhere: what tells no timing, or none that is one, is named.
func TestTraceCommandElsewhere(t *testing.T) {
	t.Parallel()
	server := testenv.HTTPServer(t, sleepy(testenv.Modern))
	at, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	for told, want := range map[string]string{"": "its timing is not told", "null": "is not what a gateway tells", "{": "is not what a gateway tells"} {
		between := httptest.NewServer(&httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) { r.Out.URL = at },
			ModifyResponse: func(r *http.Response) error {
				if told != "" {
					r.Header.Set(trace.HeaderTiming, told)
				}
				return nil
			},
		})
		if text, err := command(t, "", "trace", "nap", "--url", between.URL); err == nil || !strings.Contains(text, want) {
			t.Errorf("%q: %v: %s", told, err, text)
		}
		between.Close()
	}
}
