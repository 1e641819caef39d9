package system_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

const taskChanged = "notifications/tasks"

// TestTaskListen: a modern client is told of its own tasks, under the ids that it has, and of no others.
func TestTaskListen(t *testing.T) {
	t.Parallel()
	for _, k := range kinds[:3] {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			s, tell := &tasker{status: "working"}, &testenv.Teller{}
			s.Server = k.server(t, tell.Telling(s.modern()))
			g := testenv.Serve(t, testenv.One(s.Server))
			client := g.Modern("/mcp")
			client.Capabilities = taskClient
			id := s.start(t, client)
			ear := client.Listen(`"w"`, `{"taskIds":["forged",`+id+`]}`)
			ack := ear.Await(acknowledged, 1)
			if diff := cmp.Diff(testenv.Filter{Tasks: []string{strings.Trim(id, `"`)}}, ack.Params.Notifications); diff != "" {
				t.Errorf("acknowledged (-want +got):\n%s", diff)
			}
			tell.Task("task é/1", `"vendor":1.0,"taskId":`+realID+`,"status":"working",`+someTime+`,"ttlMs":null`)
			n := ear.Await(taskChanged, 1)
			if raw := string(n.Raw); n.Subscription() != `"w"` || !strings.Contains(raw, `"vendor":1.0,"taskId":`+id+`,"status":"working"`) {
				t.Errorf("%s", raw)
			}
			tell.EndStreams() // what was missed meanwhile is asked for
			s.set("completed", `,"result":{"content":[]}`)
			testenv.Eventually(t, "news of the task", func() bool {
				all := ear.Heard(taskChanged)
				last := string(all[len(all)-1].Raw)
				return strings.Contains(last, `"status":"completed"`) && strings.Contains(last, `"result":{"content":[]}`) &&
					strings.Contains(last, id) && !strings.Contains(last, "resultType")
			})
			client.Capabilities = formClient
			r := client.Call("subscriptions/listen", `"notifications":{"taskIds":[`+id+`]}`)
			if code, _ := r.Error(); r.Status != 400 || code != -32021 {
				t.Errorf("undeclared: %v", r)
			}
		})
	}
}
