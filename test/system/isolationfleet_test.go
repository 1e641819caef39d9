package system_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// isolatedFleet is a fleet of two replicas with one isolated server, whose callers have keys.
func isolatedFleet(t *testing.T, s *testenv.Server, more map[string]any) *testenv.Fleet {
	t.Helper()
	c := testenv.FleetConfig{Config: isolated(s, more), Redis: testenv.StartRedis(t).URL(), Replicas: 2}
	f := testenv.ServeFleet(t, c)
	f.Again = true
	return f
}

// fleetClient is a client of the fleet with a key, which every request may reach another replica with.
func fleetClient(t *testing.T, f *testenv.Fleet, era testenv.Era, key string) *testenv.Client {
	t.Helper()
	c := testenv.NewClient(t, f.URL+"/mcp", era)
	c.Key, c.Capabilities, c.Again = key, "{}", f.Again
	if era == testenv.Legacy {
		c.Initialize(testenv.LegacyVersion)
	}
	return c
}

// TestFleetSessions: behind a balancer without memory, each session has one process in the whole fleet, which ends with it.
func TestFleetSessions(t *testing.T) {
	t.Parallel()
	needsProc(t)
	s := testenv.StdioServer(t, reporter(testenv.Legacy))
	f := isolatedFleet(t, s, map[string]any{"isolation": "session"})
	var wg sync.WaitGroup
	var mu sync.Mutex
	owner := map[int]int{}
	for i := range 6 {
		wg.Go(func() {
			c := fleetClient(t, f, testenv.Legacy, aliceKey)
			first := who(t, c)
			mu.Lock()
			if other, taken := owner[first.PID]; taken {
				t.Errorf("sessions %d and %d share process %d", i, other, first.PID)
			}
			owner[first.PID] = i
			mu.Unlock()
			var calls sync.WaitGroup
			for range 10 {
				calls.Go(func() {
					if r := who(t, c); r.PID != first.PID {
						t.Errorf("session %d has processes %d and %d", i, first.PID, r.PID)
					}
				})
			}
			calls.Wait()
			if r := who(t, c); r.Counter != 12 {
				t.Errorf("session %d: its process counts %d calls", i, r.Counter)
			}
			if c.Delete() != 204 {
				t.Errorf("session %d not deleted", i)
			}
			testenv.Eventually(t, "the end of the session's process", func() bool { return !testenv.Alive(first.PID) })
		})
	}
	wg.Wait()
	if served := f.Served(); served[0] == 0 || served[1] == 0 {
		t.Errorf("the replicas served %v", served)
	}
}

// TestFleetPrincipals: a principal's lists and calls come from one process, whichever replica is asked.
func TestFleetPrincipals(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Legacy)
	script.On["tools/list"] = func(c *testenv.Call) {
		c.Complete(`"tools":[` + testenv.Tool("who") + "," + testenv.Tool("of_"+c.Child.Var("SECRET")) + "]")
	}
	s := testenv.StdioServer(t, script)
	f := isolatedFleet(t, s, map[string]any{"env": map[string]any{"SECRET": "${credential:own}"}})
	for key, secret := range map[string]string{aliceKey: "secret-of-alice", bobKey: "secret-of-bob"} {
		pids := map[int]bool{}
		for n := range 8 {
			for _, era := range testenv.Eras {
				c := f.At(n%2, fleetClient(t, f, era, key))
				if names := strings.Join(c.Call("tools/list", "").Names("tools"), " "); names != "one__who one__of_"+secret {
					t.Errorf("%s sees %q", secret, names)
				}
				r := who(t, c)
				if r.Secret != secret {
					t.Errorf("%s got %+v", secret, r)
				}
				pids[r.PID] = true
			}
		}
		if len(pids) != 1 {
			t.Errorf("%s has the processes %v", secret, pids)
		}
	}
	if n := len(s.Children()); n != 2 {
		t.Errorf("%d processes were started for two principals", n)
	}
}

// TestFleetOwnLists: what a principal's instance lists of its own shows at every replica, for that principal alone, and clients
// there are told that it changed.
func TestFleetOwnLists(t *testing.T) {
	t.Parallel()
	f := isolatedFleet(t, testenv.StdioServer(t, growing()), map[string]any{})
	alice, bob := fleetClient(t, f, testenv.Modern, aliceKey), fleetClient(t, f, testenv.Modern, bobKey)
	names := func(n int, c *testenv.Client) []string { return f.At(n, c).Call("tools/list", "").Names("tools") }
	before := names(1, alice)
	mine := f.At(1, alice).Listen("1", `{"toolsListChanged":true}`)
	other := f.At(1, bob).Listen("1", `{"toolsListChanged":true}`)
	mine.Await(acknowledged, 1)
	other.Await(acknowledged, 1)
	f.At(0, alice).Tool("one__grow", "{}")
	mine.Await(toolsChanged, 1)
	for n := range 2 {
		testenv.Eventually(t, "alice's new tool", func() bool { return slices.Contains(names(n, alice), "one__grown") })
		if got := names(n, bob); !slices.Equal(got, before) {
			t.Errorf("bob sees %v", got)
		}
	}
	if n := len(other.Heard(toolsChanged)); n != 0 {
		t.Errorf("bob heard %d times", n)
	}
	f.Kill(0)
	testenv.Eventually(t, "the lists of a new instance", func() bool { return slices.Equal(names(1, alice), before) })
}

// TestFleetDescriptions: what a personal server says of itself to one principal is told to no other, whichever replica is asked.
func TestFleetDescriptions(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Legacy)
	script.On["initialize"] = func(c *testenv.Call) {
		c.Result(`{"protocolVersion":"` + testenv.LegacyVersion + `","capabilities":{"tools":{}},"serverInfo":{"name":"for ` + c.Child.Var("SECRET") +
			`","version":"1"},"instructions":"for ` + c.Child.Var("SECRET") + `"}`)
	}
	s := testenv.StdioServer(t, script)
	f := isolatedFleet(t, s, map[string]any{"env": map[string]any{"SECRET": "${credential:own}"}})
	keys := map[string]string{aliceKey: `"for secret-of-alice"`, bobKey: `"for secret-of-bob"`}
	at := 0
	for key := range keys {
		who(t, f.At(at, fleetClient(t, f, testenv.Modern, key)))
		at++
	}
	for i := range f.Replicas {
		for key, want := range keys {
			c := f.At(i, fleetClient(t, f, testenv.Modern, key))
			c.URL = strings.Replace(c.URL, "/mcp", "/servers/one/mcp", 1)
			r := c.Call("server/discover", "")
			if got := r.Member("instructions"); got != want || !strings.Contains(r.Member("_meta"), want) || !strings.Contains(r.Member("capabilities"), "tools") {
				t.Errorf("replica %d: %v, want %s", i, r, want)
			}
		}
	}
}

// TestFleetCounts: calls that one replica hands over to another are counted once, with the tool and where their time went.
func TestFleetCounts(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	f := isolatedFleet(t, s, map[string]any{"isolation": "principal"})
	c := fleetClient(t, f, testenv.Modern, aliceKey)
	for i := range 6 {
		who(t, f.At(i%2, c))
	}
	for _, series := range []string{
		`mcp_tool_requests_total{server="one",tool="who"} `, `mcp_call_share_seconds_count{server="one",share="server"} `,
	} {
		counted := func() (sum int) {
			for i := range f.Replicas {
				_, after, _ := strings.Cut(metrics(t, f, i), series)
				n := 0
				_, _ = fmt.Sscan(after, &n) // none is 0
				sum += n
			}
			return sum
		}
		testenv.Eventually(t, "all are counted", func() bool { return counted() >= 6 }) // the replica with the instance may not be done
		if n := counted(); n != 6 {
			t.Errorf("%s: %d", series, n)
		}
	}
}

// metrics are those of one replica.
func metrics(t *testing.T, f *testenv.Fleet, replica int) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, f.Replicas[replica].URL+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+aliceKey)
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// TestFleetTakesOver: when a replica dies, another one starts the instances that it had.
func TestFleetTakesOver(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	f := isolatedFleet(t, s, map[string]any{"isolation": "principal"})
	c := fleetClient(t, f, testenv.Modern, aliceKey)
	first := who(t, f.At(0, c))
	if again := who(t, f.At(1, c)); again.PID != first.PID {
		t.Errorf("%d at one replica, %d at the other", first.PID, again.PID)
	}
	f.Kill(0)
	var next report
	testenv.Eventually(t, "another instance", func() bool {
		r := f.At(1, c).Tool("one__who", "{}")
		if _, text := r.Error(); text != "" && !strings.Contains(text, "is gone, and with it what the instance kept") {
			t.Errorf("%v", r)
		}
		return json.Unmarshal([]byte(r.Texts()), &next) == nil
	})
	if next.PID == first.PID || next.Counter != 1 {
		t.Errorf("%+v after %+v", next, first)
	}
}

// TestFleetOldTask: a task went with the instance that made it, and the caller's next instance runs at another replica: the task is
// unknown then, and no replica sends the request on to the other one without end.
func TestFleetOldTask(t *testing.T) {
	t.Parallel()
	script := reporter(testenv.Modern)
	script.Tools = append(script.Tools, testenv.Tool("hang"), testenv.Tool("make"))
	script.Capabilities = `{"tools":{},"extensions":{"` + tasksExtension + `":{}}}`
	script.On["tools/call hang"] = (*testenv.Call).Hang
	script.On["tools/call make"] = func(c *testenv.Call) {
		c.Result(`{"resultType":"task","taskId":"t","status":"completed","ttlMs":600000}`)
	}
	script.On["tasks/get"] = func(c *testenv.Call) { c.Error(-32602, "no such task here") }
	s := testenv.StdioServer(t, script)
	redis := testenv.StartRedis(t)
	config := isolated(s, map[string]any{"isolation": "principal", "pool": map[string]any{"idle": "200ms"}})
	f := testenv.ServeFleet(t, testenv.FleetConfig{Config: config, Redis: redis.URL(), Replicas: 2})
	f.Again = true
	c := fleetClient(t, f, testenv.Modern, aliceKey)
	c.Capabilities = taskClient
	id := f.At(0, c).Tool("one__make", "{}").Member("taskId")
	testenv.Eventually(t, "the end of the instance, whose task is over", func() bool {
		leases, err := redis.Do("KEYS", "*instance*")
		return err == nil && leases == ""
	})
	ctx, cancel := context.WithCancel(t.Context())
	var hanging sync.WaitGroup
	defer hanging.Wait()
	defer cancel()
	other, calls := f.At(1, c), len(s.Received("tools/call"))
	hanging.Go(func() { _, _ = other.Try(ctx, askTool("one__hang")) }) // keeps that one
	s.Await("tools/call", calls+1)
	if pid := who(t, other).PID; parentOf(t, pid) != f.Replicas[1].PID {
		t.Fatal("the next instance runs at the same replica")
	}
	for i := range f.Replicas {
		if code, text := f.At(i, c).Call("tasks/get", `"taskId":`+id).Error(); code != -32602 || !strings.Contains(text, "no such task here") {
			t.Errorf("replica %d: %d %q", i, code, text)
		}
	}
}

// parentOf is the process that started another one; 0 when that is gone.
func parentOf(t *testing.T, pid int) (parent int) {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(status), "PPid:")
	if _, err := fmt.Sscan(after, &parent); err != nil {
		t.Fatal(err)
	}
	return parent
}

// TestFleetHandsDown: calls that go on while the replica stops that has their instance are answered, by another one in the end.
func TestFleetHandsDown(t *testing.T) {
	t.Parallel()
	s := testenv.StdioServer(t, reporter(testenv.Modern))
	f := isolatedFleet(t, s, map[string]any{"isolation": "principal"})
	c := fleetClient(t, f, testenv.Modern, aliceKey)
	first := who(t, f.At(0, c))
	if err := syscall.Kill(f.Replicas[0].PID, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			testenv.Eventually(t, "an instance at the other replica", func() bool {
				r := f.At(1, c).Tool("one__who", "{}")
				var got report
				if json.Unmarshal([]byte(r.Texts()), &got) != nil {
					t.Errorf("%v", r)
					return true
				}
				return got.PID != first.PID
			})
		})
	}
	wg.Wait()
}
