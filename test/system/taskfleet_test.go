package system_test

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestTaskAnywhere: a task is started, looked at, answered and ended through any replica, also where the server knows it only
// in one session or child.
func TestTaskAnywhere(t *testing.T) {
	t.Parallel()
	eachFleet(t, func(t *testing.T, k kind, f *testenv.Fleet) {
		client := f.Client(testenv.Modern, "/mcp", taskClient)
		id := f.At(0, client).Tool("one__slow", "{}").Member("taskId")
		asked := ""
		for i := range f.Replicas {
			r := f.At(i, client).Call("tasks/get", `"taskId":`+id)
			if got := r.Member("inputRequests"); got == "" || (asked != "" && got != asked) {
				t.Fatalf("replica %d: %v, want the questions %s", i, r, asked)
			}
			asked = r.Member("inputRequests")
		}
		var questions map[string]json.RawMessage
		if err := json.Unmarshal([]byte(asked), &questions); err != nil {
			t.Fatal(err)
		}
		for key := range questions {
			r := f.At(2, client).Call("tasks/update", fmt.Sprintf(`"taskId":%s,"inputResponses":{%q:%s}`, id, key, agreed))
			if string(r.Result()) != `{"resultType":"complete"}` {
				t.Errorf("update: %v", r)
			}
		}
		testenv.Eventually(t, "the end of the task", func() bool {
			return f.At(1, client).Call("tasks/get", `"taskId":`+id).Member("status") == `"completed"`
		})
		f.Kill(0)
		r := f.At(1, client).Call("tasks/get", `"taskId":`+id)
		if code, text := r.Error(); k.era == testenv.Modern && !k.stdio && r.Member("status") != `"completed"` ||
			(k.era == testenv.Legacy || k.stdio) && (code != -32602 || text == "") {
			t.Errorf("after its replica's end: %v", r)
		}
	})
}

// TestTaskAnywhereOnBehalf: the retry of a call whose task asks may come to any replica.
func TestTaskAnywhereOnBehalf(t *testing.T) {
	t.Parallel()
	eachFleet(t, func(t *testing.T, _ kind, f *testenv.Fleet) {
		client := f.Client(testenv.Modern, "/mcp", formClient)
		r, n, err := f.At(0, client).Talk(testenv.Within(t, testenv.Patience), testenv.Talk{
			Request: testenv.Request{Method: "tools/call", Members: `"name":"one__slow","arguments":{}`},
			Answer:  func(testenv.Question) string { return agreed },
			Via:     func(n int) *testenv.Client { return f.At(n%3, client) },
		})
		if err != nil || n != 1 || r.Texts() != `{"k1":`+agreed+`}` && r.Texts() != `{"q1":`+agreed+`}` {
			t.Errorf("%v, %d, %v", r, n, err)
		}
	})
}

// eachFleet runs f for a fleet in front of a server of each kind whose tasks ask; it knows them only in one session or child.
func eachFleet(t *testing.T, f func(*testing.T, kind, *testenv.Fleet)) {
	redis := testenv.StartRedis(t)
	for _, k := range []kind{kinds[0], kinds[2], kinds[4], kinds[5]} {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s := askingTasker(t, k)
			s.homely = true
			replicas := testenv.ServeFleet(t, testenv.FleetConfig{Config: testenv.One(s.Server), Redis: redis.URL()})
			replicas.Again = true
			f(t, k, replicas)
		})
	}
}
