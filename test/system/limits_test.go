package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// limited is a gateway with limits, in front of a server with the tools echo, dear and slow.
func limited(t *testing.T, limits []any, more map[string]any) (*testenv.Gateway, *testenv.Server) {
	t.Helper()
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("echo"), testenv.Tool("dear"), testenv.Tool("slow")}})
	return testenv.Serve(t, limitedConfig(s, limits, more)), s
}

func limitedConfig(s *testenv.Server, limits []any, more map[string]any) testenv.Config {
	all := map[string]any{"limits": limits}
	maps.Copy(all, more)
	return testenv.Config{
		Entries: map[string]any{"one": s.Entry(map[string]any{"tools": map[string]any{"dear": map[string]any{"cost": 20}}})},
		More:    all,
	}
}

// let counts how many of n calls of a tool are let in, and returns the last refusal.
func let(client *testenv.Client, tool string, n int) (in int, refused *testenv.Reply) {
	for range n {
		if r := client.Tool(tool, "{}"); r.Texts() == "done" {
			in++
		} else {
			refused = r
		}
	}
	return in, refused
}

// inSeconds tells whether a text is the seconds, rounded up, until something that was so many away no sooner than at a time.
func inSeconds(text string, away int, then time.Time) bool {
	n, err := strconv.Atoi(text)
	return err == nil && n <= away && n >= away-int(time.Since(then)/time.Second)
}

// TestLimitKnobs: each amount of a limit takes effect, for clients of both eras, and says when to come again.
func TestLimitKnobs(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		for name, c := range map[string]struct {
			limit map[string]any
			tool  string
			in    int
		}{
			"rate":  {map[string]any{"rate": "3/h"}, "echo", 3},
			"burst": {map[string]any{"rate": "3/h", "burst": 5}, "echo", 5},
			"quota": {map[string]any{"quota": "4/month"}, "echo", 4},
			"bytes": {map[string]any{"bytes": "100/h"}, "echo", 1},
			"cost":  {map[string]any{"rate": "45/h"}, "dear", 2},
		} {
			t.Run(era.String()+" "+name, func(t *testing.T) {
				t.Parallel()
				limit := map[string]any{"name": "few", "per": []string{"principal"}, "methods": []string{"tools/call"}}
				maps.Copy(limit, c.limit)
				g, s := limited(t, []any{limit}, nil)
				in, r := let(g.Client(era, "/mcp"), "one__"+c.tool, c.in+2)
				if got := len(s.Received("tools/call")); in != c.in || got != c.in || r == nil {
					t.Fatalf("%d calls were let in and %d arrived, want %d: %v", in, got, c.in, r)
				}
				wait, err := strconv.Atoi(r.Header.Get("Retry-After"))
				code, text := r.Error()
				if r.Status != http.StatusTooManyRequests || err != nil || wait < 1 || code != 429 || !strings.Contains(text, `"few"`) ||
					!strings.Contains(r.Data(), `"limit":"few"`) || !strings.Contains(r.Data(), `"reset":`+strconv.Itoa(wait)) {
					t.Errorf("%v, headers %v", r, r.Header)
				}
			})
		}
	}
}

// TestLimitConcurrency: so many calls are under way at once, and the next is let in when one of them has ended.
func TestLimitConcurrency(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("echo"), testenv.Tool("slow")}, On: map[string]func(*testenv.Call){
		"tools/call slow": func(c *testenv.Call) {
			<-release
			c.Text("done")
		},
	}})
	g := testenv.Serve(t, testenv.Config{
		Servers: map[string]*testenv.Server{"one": s},
		More:    map[string]any{"limits": []any{map[string]any{"tools": []string{"one__slow"}, "per": []string{"tenant"}, "concurrency": 2}}},
	})
	client := g.Modern("/mcp")
	var calls sync.WaitGroup
	for range 2 {
		calls.Go(func() {
			if r := client.Tool("one__slow", "{}"); r.Status != http.StatusOK {
				t.Errorf("%v", r)
			}
		})
	}
	s.Await("tools/call", 2)
	if r := client.Tool("one__slow", "{}"); r.Status != http.StatusTooManyRequests || !strings.Contains(r.Data(), "concurrency") {
		t.Errorf("a third: %v", r)
	}
	if r := client.Tool("one__echo", "{}"); r.Status != http.StatusOK {
		t.Errorf("another tool: %v", r)
	}
	close(release)
	calls.Wait()
	testenv.Eventually(t, "there is room again", func() bool { return client.Tool("one__slow", "{}").Status == http.StatusOK })
}

// TestLimitLists: lists count too.
func TestLimitLists(t *testing.T) {
	t.Parallel()
	g, _ := limited(t, []any{map[string]any{"rate": "3/h", "methods": []string{"*/list"}}, map[string]any{"name": "s", "per": []string{"server"}, "rate": "2/h", "methods": []string{"tools/list"}}}, nil)
	client := g.Modern("/servers/one/mcp")
	for i, want := range []int{200, 200, 429, 429} {
		if r := client.Call("tools/list", ""); r.Status != want {
			t.Errorf("list %d: %v", i, r)
		}
	}
	if r := client.Call("prompts/list", ""); r.Status != http.StatusOK {
		t.Errorf("what was refused counted: %v", r)
	}
	if r := client.Call("prompts/list", ""); r.Status != http.StatusTooManyRequests {
		t.Errorf("%v", r)
	}
	if r := client.Tool("echo", "{}"); r.Status != http.StatusOK {
		t.Errorf("a call: %v", r)
	}
}

// limitCallers are three callers: two of a tenant, and one of another that is in a group.
var limitCallers = map[string]any{"apiKeys": []any{
	map[string]any{"name": "ana", "key": "ana-0123456789abcdef", "tenant": "acme"},
	map[string]any{"name": "ben", "key": "ben-0123456789abcdef", "tenant": "acme"},
	map[string]any{"name": "cy", "key": "cy-00123456789abcdef", "tenant": "other", "groups": []string{"interns"}},
}}

// TestLimitPer: what a limit is per, and whom it is for.
func TestLimitPer(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		limit         map[string]any
		ana, ben, cys int // of three calls each, one after the other
	}{
		"all":       {map[string]any{}, 2, 0, 0},
		"principal": {map[string]any{"per": []string{"principal"}}, 2, 2, 2},
		"key":       {map[string]any{"per": []string{"key"}}, 2, 2, 2},
		"tenant":    {map[string]any{"per": []string{"tenant"}}, 2, 0, 2},
		"server":    {map[string]any{"per": []string{"server"}}, 2, 0, 0},
		"tool":      {map[string]any{"per": []string{"tool", "tenant"}}, 2, 0, 2},
		"address":   {map[string]any{"per": []string{"address"}, "methods": []string{"tools/call"}}, 2, 0, 0},
		"tenants":   {map[string]any{"tenants": []string{"oth*"}, "per": []string{"principal"}}, 3, 3, 2},
		"groups":    {map[string]any{"groups": []string{"interns"}}, 3, 3, 2},
		"tools":     {map[string]any{"tools": []string{"one__e*"}}, 2, 0, 0},
		"others":    {map[string]any{"tools": []string{"one__slow"}, "servers": []string{"one"}}, 3, 3, 3},
		"servers":   {map[string]any{"servers": []string{"on*"}}, 2, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			limit := map[string]any{"rate": "2/h"}
			maps.Copy(limit, c.limit)
			g, _ := limited(t, []any{limit}, map[string]any{"auth": limitCallers})
			var got [3]int
			for i, key := range []string{"ana-0123456789abcdef", "ben-0123456789abcdef", "cy-00123456789abcdef"} {
				client := g.Modern("/mcp")
				client.Key = key
				got[i], _ = let(client, "one__echo", 3)
			}
			if want := [3]int{c.ana, c.ben, c.cys}; got != want {
				t.Errorf("%v were let in, want %v", got, want)
			}
		})
	}
}

// TestLimitAddress: a limit per address counts before anybody is identified, so that keys cannot be guessed faster, and before the
// body is read.
func TestLimitAddress(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			g, s := limited(t, []any{map[string]any{"per": []string{"address"}, "rate": "5/h"}}, map[string]any{"auth": limitCallers})
			client := testenv.NewClient(t, g.URL+"/mcp", era)
			client.Key = "wrong-0123456789abcdef"
			began := time.Now()
			for i := range 7 {
				want := http.StatusUnauthorized
				if i >= 5 {
					want = http.StatusTooManyRequests
				}
				r := client.Call("tools/list", "")
				if r.Status != want {
					t.Fatalf("%d: %v", i, r)
				}
				if code, text := r.Error(); i >= 5 && (code != 429 || !inSeconds(r.Header.Get("Retry-After"), 720, began) || !strings.Contains(text, `"address"`)) {
					t.Errorf("%v %v", r, r.Header)
				}
			}
			client.Key = "ana-0123456789abcdef"
			if r := client.Tool("one__echo", "{}"); r.Status != http.StatusTooManyRequests || len(s.Received("tools/call")) > 0 {
				t.Errorf("%v", r)
			}
		})
	}
}

// TestLimitHeaders: callers are told of the limit that they will meet first.
func TestLimitHeaders(t *testing.T) {
	t.Parallel()
	g, _ := limited(t, []any{
		map[string]any{"name": "wide", "rate": "1000/s"}, map[string]any{"name": "narrow", "per": []string{"tool"}, "rate": "10/m"},
	}, nil)
	client := g.Modern("/mcp")
	began := time.Now()
	for i, want := range []string{`"narrow";r=9`, `"narrow";r=8`} {
		r := client.Tool("one__echo", "{}")
		if got, reset, _ := strings.Cut(r.Header.Get("RateLimit"), ";t="); got != want || !inSeconds(reset, 6*(i+1), began) || r.Header.Get("RateLimit-Policy") != `"narrow";q=10;w=60` {
			t.Errorf("%d: %v", i, r.Header)
		}
	}
	if r := client.Call("tools/list", ""); !strings.HasPrefix(r.Header.Get("RateLimit"), `"wide";r=`) {
		t.Errorf("a list: %v", r.Header)
	}
}

// TestLimitReload: a change of configuration forgets nothing that was used, and a new number counts at once.
func TestLimitReload(t *testing.T) {
	t.Parallel()
	limit := map[string]any{"quota": "3/month", "methods": []string{"tools/call"}}
	g, s := limited(t, []any{limit}, nil)
	client := g.Modern("/mcp")
	if in, _ := let(client, "one__echo", 5); in != 3 {
		t.Fatalf("%d were let in", in)
	}
	g.Configure(limitedConfig(s, []any{map[string]any{"quota": "5/month", "methods": []string{"tools/call"}}}, nil))
	testenv.Eventually(t, "there is more", func() bool { return client.Tool("one__echo", "{}").Status == http.StatusOK })
	if in, _ := let(client, "one__echo", 5); in != 1 {
		t.Errorf("%d more were let in after the first, want 1", in)
	}
}

// TestLimitOutcome: refusals are counted by limit, and on record.
func TestLimitOutcome(t *testing.T) {
	t.Parallel()
	g, _ := limited(t, []any{map[string]any{"name": "few", "rate": "1/h"}}, map[string]any{"audit": map[string]any{"sinks": []any{map[string]any{"stdout": true}}}})
	if _, r := let(g.Modern("/mcp"), "one__echo", 3); r == nil {
		t.Fatal("none was refused")
	}
	testenv.Eventually(t, "the metrics have it", func() bool {
		_, text := g.Get("/metrics", nil)
		return strings.Contains(text, `toolcrib_limited_requests_total{kind="rate",limit="few"} 2`) &&
			strings.Contains(text, `mcp_requests_total{era="modern",method="tools/call",outcome="limited"} 2`)
	})
}

// TestLimitRate: what comes back comes back steadily.
func TestLimitRate(t *testing.T) {
	t.Parallel()
	const rate, burst = 40, 120 // three seconds in which the machine does something else lose nothing
	g, _ := limited(t, []any{map[string]any{"rate": "40/s", "burst": burst}}, nil)
	client := g.Modern("/mcp")
	drained := func() (got int, asked, answered time.Time) { // takes all that is there
		for {
			asked = time.Now()
			if n, _ := let(client, "one__echo", 1); n == 0 {
				return got, asked, time.Now()
			}
			got++
		}
	}
	_, fromAsked, fromAnswered := drained()
	var in [4]int
	var all sync.WaitGroup
	for i := range in {
		all.Go(func() {
			client := g.Modern("/mcp")
			for time.Since(fromAsked) < 3*time.Second {
				n, _ := let(client, "one__echo", 1)
				in[i] += n
			}
		})
	}
	all.Wait()
	got, toAsked, toAnswered := drained()
	got += in[0] + in[1] + in[2] + in[3]
	least, most := rate*toAsked.Sub(fromAnswered).Seconds(), rate*toAnswered.Sub(fromAsked).Seconds()
	if n := float64(got); n < 0.99*least-1 || n > 1.01*most+1 {
		t.Errorf("%d were let in, want %.0f to %.0f", got, least, most)
	}
}

// TestLimitFleet: three replicas behind a balancer let in what the limit says, within 5 %, also while Redis is away, and say so.
func TestLimitFleet(t *testing.T) {
	t.Parallel()
	const rate = 60
	redis := testenv.StartRedis(t)
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	c := testenv.FleetConfig{Redis: redis.URL()}
	c.Servers = map[string]*testenv.Server{"one": s}
	c.More = map[string]any{"limits": []any{
		map[string]any{"name": "r", "per": []string{"tool"}, "rate": "60/s", "burst": 4 * rate}, // no second is lost in which the machine does something else
		map[string]any{"name": "q", "methods": []string{"tools/list"}, "quota": "60/day"},
	}}
	f := testenv.ServeFleet(t, c)
	lists := 0
	for range 90 {
		if f.Modern("/mcp").Call("tools/list", "").Status == http.StatusOK {
			lists++
		}
	}
	if lists < 57 || lists > 60 {
		t.Errorf("%d lists of 60 were let in", lists)
	}
	drained := func() (got int, began, ended time.Time) { // takes all that there is at each replica
		began = time.Now()
		for i := range f.Replicas {
			for client := f.At(i, f.Modern("/mcp")); ; got++ {
				if n, _ := let(client, "one__echo", 1); n == 0 {
					break
				}
			}
		}
		return got, began, time.Now()
	}
	local := func(i int) bool { // whether a replica goes by its part
		resp, err := http.Get(f.Replicas[i].URL + "/health/ready")
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		text, _ := io.ReadAll(resp.Body)
		return resp.StatusCode == http.StatusOK && strings.Contains(string(text), "limits: 1 of 3 parts")
	}
	window := func() (wrong string) {
		drained()
		_, fromBegan, fromEnded := drained()
		in := make([]int, 6)
		var all sync.WaitGroup
		for i := range in {
			all.Go(func() {
				client := f.Modern("/mcp")
				for time.Since(fromEnded) < 4*time.Second {
					n, _ := let(client, "one__echo", 1)
					in[i] += n
				}
			})
		}
		all.Wait()
		got, toBegan, toEnded := drained()
		for _, n := range in {
			got += n
		}
		least, most := rate*toBegan.Sub(fromEnded).Seconds(), rate*toEnded.Sub(fromBegan).Seconds()
		if n := float64(got); n < 0.95*least-1 || n > 1.05*most+1 {
			return fmt.Sprintf("%d calls were let in, want %.0f to %.0f", got, least, most)
		}
		return ""
	}
	for try := 1; ; try++ { // again where Redis was late, three times at most
		for i := range f.Replicas {
			testenv.Eventually(t, "they share", func() bool { return !local(i) })
		}
		stop := departures(len(f.Replicas), local)
		wrong := window()
		if late := stop(); late && wrong != "" && try < 3 {
			t.Log("while Redis was late:", wrong)
			continue
		}
		if wrong != "" {
			t.Errorf("with Redis, at try %d: %s", try, wrong)
		}
		break
	}
	redis.Kill()
	for i := range f.Replicas {
		testenv.Eventually(t, "it is degraded", func() bool { return local(i) })
	}
	if wrong := window(); wrong != "" {
		t.Errorf("without Redis: %s", wrong)
	}
}

// departures looks whether a replica goes by its part until it is told to stop, and tells then whether one did: Redis was late. A
// replica does so for a second at least; where nobody looked for that long, one may have.
func departures(replicas int, local func(i int) bool) (stop func() bool) {
	const departed = time.Second
	var late, ended atomic.Bool
	done := make(chan struct{})
	go func() {
		defer close(done)
		each(replicas, func(i int) {
			for before, last := time.Now(), false; !last; {
				last = ended.Load()
				began := time.Now()
				if local(i) || time.Since(before) >= departed {
					late.Store(true)
				}
				if before = began; !last {
					time.Sleep(departed / 10)
				}
			}
		})
	}()
	return func() bool {
		ended.Store(true)
		<-done
		return late.Load()
	}
}

// TestLimitRefused: where Redis answers and refuses to count, readiness says what it said, until it counts again.
func TestLimitRefused(t *testing.T) {
	t.Parallel()
	redis := testenv.StartRedis(t)
	g, _ := limited(t, []any{map[string]any{"name": "q", "quota": "1000/day"}}, map[string]any{"cluster": redis.URL()})
	set := func(memory string) {
		if answer, err := redis.Do("CONFIG", "SET", "maxmemory", memory); err != nil || answer != "OK" {
			t.Fatal(answer, err)
		}
	}
	testenv.Eventually(t, "it is connected", func() bool {
		_, body := g.Get("/health/ready", nil)
		return strings.Contains(body, `"connected": true`)
	})
	set("1")
	testenv.Eventually(t, "it tells why", func() bool {
		g.Modern("/mcp").Tool("one__echo", "{}")
		_, body := g.Get("/health/ready", nil)
		return strings.Contains(body, "limits: 1 of 1 parts of each counts here, because Redis answers: OOM")
	})
	set("0")
	testenv.Eventually(t, "it is ready again", func() bool {
		_, body := g.Get("/health/ready", nil)
		return strings.Contains(body, `"status": "ready"`) && !strings.Contains(body, "OOM")
	})
}

// TestLimitRestart: what is used of a quota is still used after a start.
func TestLimitRestart(t *testing.T) {
	t.Parallel()
	limits := []any{map[string]any{"quota": "3/month", "methods": []string{"tools/call"}}}
	g, s := limited(t, limits, nil)
	if in, _ := let(g.Modern("/mcp"), "one__echo", 2); in != 2 {
		t.Fatalf("%d were let in", in)
	}
	g.Stop()
	again := testenv.ServeAt(t, limitedConfig(s, limits, nil), g.StateDir)
	if in, _ := let(again.Modern("/mcp"), "one__echo", 3); in != 1 {
		t.Errorf("%d were let in after a start, want 1", in)
	}
}

// TestLimitKilled: a gateway that is killed under load has counted all but what was used in its last seconds, and goes on from there; it
// never counts what was not asked for.
func TestLimitKilled(t *testing.T) {
	t.Parallel()
	const quota = 1_000_000
	// late is how much longer a machine may take that does a lot besides.
	const last, late = time.Second, 8 * time.Second
	c := testenv.FleetConfig{Replicas: 1, StateDir: t.TempDir()}
	c.More = map[string]any{"log": map[string]any{"level": "warn"}, "limits": []any{map[string]any{"name": "q", "quota": "1000000/month"}}}
	f := testenv.ServeFleet(t, c)
	used := func() int {
		r := f.Modern("/mcp").Call("tools/list", "")
		var left int
		if _, err := fmt.Sscanf(r.Header.Get("RateLimit"), `"q";r=%d;`, &left); err != nil {
			t.Fatalf("%v: %v", err, r)
		}
		return quota - left
	}
	before := used()
	var mu sync.Mutex
	var answered []time.Time
	var asked atomic.Int64
	var all sync.WaitGroup
	began := time.Now()
	for range 4 {
		all.Go(func() {
			client := f.At(0, f.Modern("/mcp"))
			for ok := true; ok; time.Sleep(5 * time.Millisecond) { // other tests need the machine as well
				asked.Add(1)
				ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
				_, err := client.Try(ctx, testenv.Request{Method: "tools/list"})
				cancel()
				if ok = err == nil; ok {
					mu.Lock()
					answered = append(answered, time.Now())
					mu.Unlock()
				}
			}
		})
	}
	testenv.Eventually(t, "some seconds of use", func() bool { return time.Since(began) > last+late+2*time.Second })
	killed := time.Now()
	f.Kill(0)
	all.Wait()
	sure := 0
	for _, at := range answered {
		if killed.Sub(at) > last+late {
			sure++
		}
	}
	f = testenv.ServeFleet(t, c)
	if n := used() - 1 - before; sure == 0 || n < sure || n > int(asked.Load()) {
		t.Errorf("%d are counted of %d that were asked for and %d that were answered, %d of them more than %v before the end",
			n, asked.Load(), len(answered), sure, last+late)
	}
}

// TestLimitForwarded: behind the trusted proxy the address is that which the proxy tells, whatever the client claims; from anywhere
// else the header counts for nothing.
func TestLimitForwarded(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		proxy, secret string
		want          []int
	}{
		"trusted":   {"127.0.0.0/8", "proxy-secret-0123456789", []int{200, 200, 429, 429, 200, 429}},
		"untrusted": {"192.0.2.1", "proxy-secret-0123456789", []int{200, 429, 429, 429, 429, 429}},
		"unproven":  {"127.0.0.0/8", "another-secret-0123456789", []int{200, 429, 429, 429, 429, 429}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g, _ := limited(t, []any{map[string]any{"per": []string{"address"}, "rate": "1/h"}}, map[string]any{"auth": map[string]any{
				"anonymous":    "allow",
				"trustedProxy": map[string]any{"addresses": []string{c.proxy}, "secret": "proxy-secret-0123456789"},
			}})
			for i, forwarded := range []string{
				"198.51.100.1", "198.51.100.1, 198.51.100.2, 127.0.0.9", "198.51.100.9, 198.51.100.1", "x, [2001:db8::1]:99,198.51.100.2", "198.51.100.1,2001:db8::1", "[2001:db8::2]:5",
			} {
				r, err := g.Modern("/mcp").Try(testenv.Within(t, testenv.Patience), testenv.Request{
					Method: "tools/list", Header: http.Header{"X-Forwarded-For": {forwarded}, "X-Proxy-Secret": {c.secret}},
				})
				if err != nil || (r.Status == http.StatusTooManyRequests) != (c.want[i] == http.StatusTooManyRequests) {
					t.Errorf("%s: %v, %v, want %d", forwarded, r, err, c.want[i])
				}
			}
		})
	}
}

// TestLimitsOfOthers: a tenant is not shown that there is a limit of a server that it has not got.
func TestLimitsOfOthers(t *testing.T) {
	t.Parallel()
	const root, meter = "root-0123456789abcdef", "eva-0123456789abcdef"
	script := testenv.Script{Tools: testenv.Tools(1)}
	secret, plain := testenv.HTTPServer(t, script), testenv.HTTPServer(t, script)
	g := testenv.Serve(t, testenv.Config{
		Entries: map[string]any{
			"secret": map[string]any{"url": secret.URL, "tenants": []string{"acme"}},
			"open":   map[string]any{"url": testenv.HTTPServer(t, script).URL},
			"plain":  map[string]any{"url": plain.URL, "prefix": ""},
		},
		More: map[string]any{
			"limits": []any{
				map[string]any{"name": "h1", "servers": []string{"secret"}, "rate": "9/s"},
				map[string]any{"name": "h2", "tools": []string{"secret__find"}, "rate": "9/s"},
				map[string]any{"name": "h3", "servers": []string{"secret", "open"}, "tools": []string{"secret__*"}, "rate": "9/s"},
				map[string]any{"name": "s1", "servers": []string{"secret", "open"}, "rate": "9/s"},
				map[string]any{"name": "s2", "tools": []string{"s*"}, "rate": "9/s"},
				map[string]any{"name": "s3", "tools": []string{"open__*"}, "rate": "9/s"},
				map[string]any{"name": "s4", "tools": []string{"*__tool"}, "rate": "9/s"},
				map[string]any{"name": "s5", "rate": "9/s"},
			},
			"auth": map[string]any{"apiKeys": []any{
				map[string]any{"name": "root", "key": root, "roles": []string{"admin"}},
				map[string]any{"name": "eva", "key": meter, "tenant": "acm", "roles": []string{"meter"}},
			}},
			"policies": map[string]any{"roles": map[string]any{"meter": map[string]any{"manage": []string{"limits:read"}}}, "bindings": []any{}},
		},
	})
	for key, want := range map[string]string{root: "h1 h2 h3 s1 s2 s3 s4 s5", meter: "s1 s2 s3 s4 s5"} {
		var report struct{ Limits []struct{ Name string } }
		status, text := g.Get("/api/v1/limits", http.Header{"Authorization": {"Bearer " + key}})
		if err := json.Unmarshal([]byte(text), &report); err != nil || status != http.StatusOK {
			t.Fatalf("%d, %v: %s", status, err, text)
		}
		var names []string
		for _, l := range report.Limits {
			names = append(names, l.Name)
		}
		slices.Sort(names)
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s is shown %s, want %s", key, got, want)
		}
	}
}

// TestLimitsShown: who may limits:read is shown what is used, and by whom.
func TestLimitsShown(t *testing.T) {
	t.Parallel()
	const root, plain, chief, rival = "root-0123456789abcdef", "ana-0123456789abcdef", "eva-0123456789abcdef", "rik-0123456789abcdef"
	g, _ := limited(t, []any{
		map[string]any{"per": []string{"principal", "tool", "address"}, "quota": "10/month"},
		map[string]any{"name": "k", "per": []string{"key"}, "concurrency": 3},
		map[string]any{"name": "where", "per": []string{"address"}, "quota": "100/month"},
		map[string]any{"name": "sum", "per": []string{"tenant"}, "quota": "90/month"},
		map[string]any{"name": "rest", "tenants": []string{"acme"}, "quota": "80/month"},
		map[string]any{"name": "all", "per": []string{"server"}, "quota": "70/month"},
	}, map[string]any{
		"auth": map[string]any{"apiKeys": []any{
			map[string]any{"name": "root", "key": root, "roles": []string{"admin"}},
			map[string]any{"name": "ana", "key": plain, "tenant": "acme"},
			map[string]any{"name": "eva", "key": chief, "tenant": "acme", "roles": []string{"meter"}},
			map[string]any{"name": "rik", "key": rival, "tenant": "acm", "roles": []string{"meter"}},
		}},
		"policies": map[string]any{
			"roles":    map[string]any{"meter": map[string]any{"manage": []string{"limits:read"}}},
			"bindings": []any{map[string]any{"everyone": true, "role": "user"}},
		},
	})
	client := g.Modern("/mcp")
	client.Key = plain
	if in, _ := let(client, "one__echo", 4); in != 4 {
		t.Fatalf("%d were let in", in)
	}
	if status, _ := g.Get("/api/v1/limits", http.Header{"Authorization": {"Bearer " + plain}}); status != http.StatusForbidden && status != http.StatusNotFound {
		t.Errorf("who may not read them gets %d", status)
	}
	status, text := g.Get("/api/v1/limits", http.Header{"Authorization": {"Bearer " + root}})
	for _, want := range []string{`"principal+tool+address"`, `"10/month"`, `"left": 6`, `"principal": "acme/ana"`, `"server": "one"`, `"tool": "echo"`, `"address": "127.0.0.1"`, `"keys": 0`} {
		if squeezed := strings.ReplaceAll(text, `":`, `": `); status != http.StatusOK || !strings.Contains(squeezed, want) && !strings.Contains(text, want) {
			t.Errorf("%d, %s lacks %s", status, text, want)
		}
	}
	shownTo := func(key string) string {
		_, text := g.Get("/api/v1/limits", http.Header{"Authorization": {"Bearer " + key}})
		return strings.ReplaceAll(text, `": `, `":`)
	}
	own, others := shownTo(chief), shownTo(rival)
	for _, want := range []string{`"principal":"acme/ana"`, `"tenant":"acme"`, `"rest"`, `"of":{"server":"one"}`} {
		if !strings.Contains(own, want) {
			t.Errorf("who reads limits of its tenant is not shown %s: %s", want, own)
		}
	}
	if strings.Contains(own, `"of":{"address":"127.0.0.1"}`) {
		t.Errorf("addresses of all tenants are shown: %s", own)
	}
	if strings.Contains(others, "acme") || strings.Contains(others, `"rest"`) || strings.Contains(others, "127.0.0.1") || !strings.Contains(others, `"of":{"server":"one"}`) {
		t.Errorf("what another tenant uses is shown: %s", others)
	}
	cmd := exec.CommandContext(t.Context(), os.Args[0], "limits", "--url", g.URL)
	cmd.Env = append(os.Environ(), "TOOLCRIB_API_KEY="+root)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "address=127.0.0.1 principal=acme/ana server=one tool=echo  6") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestLimitAddressArrays: an array counts as its messages, and one that is not served as a request.
func TestLimitAddressArrays(t *testing.T) {
	t.Parallel()
	g, _ := limited(t, []any{map[string]any{"per": []string{"address"}, "rate": "5/h", "concurrency": 1}}, nil)
	client := g.LegacyOf("/mcp", batchVersion, "") // two requests
	if r := client.Post([]byte(`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`)); r.Status != http.StatusOK || !strings.Contains(string(r.Last()), `"result":{}`) {
		t.Errorf("an array of one, one at once: %v", r)
	}
	client.Session = ""
	in := 0
	for range 10 {
		if r := client.Post([]byte(`[{"jsonrpc":"2.0","id":1,"method":"ping"}]`)); r.Status != http.StatusTooManyRequests {
			in++
		}
	}
	if in != 2 {
		t.Errorf("%d arrays without a session were let in, want 2", in)
	}
}

// TestLimitOperators: keys are guessed no faster where operators ask.
func TestLimitOperators(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"/api/v1/whoami", "/metrics"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			g, _ := limited(t, []any{map[string]any{"per": []string{"address"}, "rate": "3/h"}}, map[string]any{"auth": limitCallers})
			began := time.Now()
			for i, want := range []int{401, 401, 401, 429, 429} {
				code, body := g.Get(path, http.Header{"Authorization": {"Bearer wrong-0123456789abcdef"}})
				_, after, _ := strings.Cut(body, "come again in ")
				after, _, _ = strings.Cut(after, " s")
				if code != want || want == http.StatusTooManyRequests && !inSeconds(after, 1200, began) {
					t.Errorf("%d: %d %s", i, code, body)
				}
			}
			for range 5 {
				if code, body := g.Get("/health/ready", nil); code != http.StatusOK {
					t.Errorf("/health/ready answers %d: %s", code, body)
				}
			}
		})
	}
}

// TestLimitLegacy: all requests of a session count, but for pings.
func TestLimitLegacy(t *testing.T) {
	t.Parallel()
	g, _ := limited(t, []any{map[string]any{"rate": "4/h"}}, nil)
	client := testenv.NewClient(t, g.URL+"/mcp", testenv.Legacy)
	if r := client.Initialize(testenv.LegacyVersion); r.Header.Get("RateLimit") != `"all";r=3;t=900` {
		t.Errorf("initialize: %v", r.Header)
	}
	for i, want := range []int{200, 200, 200, 429} {
		if r := client.Call("logging/setLevel", `"level":"info"`); r.Status != want {
			t.Errorf("%d: %v", i, r)
		}
	}
	if r := client.Call("resources/unsubscribe", `"uri":"file:///a"`); r.Status != http.StatusTooManyRequests {
		t.Errorf("unsubscribe: %v", r)
	}
	if r := client.Call("ping", ""); r.Status != http.StatusOK {
		t.Errorf("ping: %v", r)
	}
}

// TestLimitTasks: what is asked about tasks counts against limits of their server, whatever it speaks.
func TestLimitTasks(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		s := newTasker(t, k)
		c := testenv.One(s.Server)
		c.More = map[string]any{"limits": []any{map[string]any{"per": []string{"server"}, "methods": []string{"tasks/*"}, "rate": "2/h"}}}
		client := testenv.Serve(t, c).Client(era, "/mcp")
		id := s.start(t, client)
		for i, want := range []int{200, 200, 429} {
			if r := taskCall(client, "tasks/get", `"taskId":`+id); r.Status != want {
				t.Errorf("%d: %v", i, r)
			}
		}
	})
}
