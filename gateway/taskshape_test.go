package gateway

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
)

func TestReshape(t *testing.T) {
	t.Parallel()
	id := []byte(`"sealed"`)
	for name, c := range map[string]struct {
		in, want string
		status   string
		rename   map[string]string
		drop     []string
	}{
		"to the extension": {
			in:     `{"taskId":"a","ttl":1e3,"pollInterval":5.0,"status":"working","vendor":{"ttl":1,"taskId":"a"}}`,
			want:   `{"taskId":"sealed","ttlMs":1e3,"pollIntervalMs":5.0,"status":"working","vendor":{"ttl":1,"taskId":"a"}}`,
			rename: toExtension,
		},
		"to core": {
			in:     `{ "ttlMs" : null , "result" : {"a":1}, "taskId":"a" , "resultType":"complete"}`,
			want:   `{ "ttl" : null ,  "taskId":"sealed" }`,
			rename: toCore, drop: beside,
		},
		"without a limit":          {in: `{"taskId":"a"}`, want: `{"ttlMs":null,"taskId":"sealed"}`, rename: toExtension},
		"without a limit, to core": {in: `{"taskId":"a"}`, want: `{"ttl":null,"taskId":"sealed"}`, rename: toCore},
		"another status":           {in: `{"status":"failed","ttl":1}`, want: `{"status":"completed","ttlMs":1}`, status: "completed", rename: toExtension},
		"all dropped but the limit": {
			in: `{"error":{},"result":{},"inputRequests":{}}`, want: `{"ttl":null}`, rename: toCore, drop: beside,
		},
	} {
		got := string(reshape([]byte(c.in), id, c.status, c.rename, c.drop...))
		if got != c.want || !json.Valid([]byte(got)) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

func TestCoreStatus(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		`{"status":"completed","ttlMs":1,"result":{"isError":true}}`:  `{"status":"failed","ttl":1}`,
		`{"status":"completed","ttlMs":1,"result":{"isError":false}}`: `{"status":"completed","ttl":1}`,
		`{"status":"completed","ttlMs":1}`:                            `{"status":"completed","ttl":1}`,
		`{"status":"working","ttlMs":1,"result":{"isError":true}}`:    `{"status":"working","ttl":1}`,
	} {
		if got := string(core([]byte(in), []byte(`"x"`))); got != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

const related = `"io.modelcontextprotocol/related-task":`

func TestRelate(t *testing.T) {
	t.Parallel()
	for in, want := range map[string][2]string{ // with an id, and with none
		`{}`:                            {`{"_meta":{` + related + `{"taskId":"x"}}}`, `{}`},
		`{"n":1.0}`:                     {`{"_meta":{` + related + `{"taskId":"x"}},"n":1.0}`, `{"n":1.0}`},
		`{"_meta":{"v":1}}`:             {`{"_meta":{` + related + `{"taskId":"x"},"v":1}}`, `{"_meta":{"v":1}}`},
		`{"_meta":{` + related + `{}}}`: {`{"_meta":{` + related + `{"taskId":"x"}}}`, `{"_meta":{}}`},
		`{"_meta":[]}`:                  {`{"_meta":[]}`, `{"_meta":[]}`},
		`{"_meta":{"a":1,` + related + `1` + `}}`: {`{"_meta":{"a":1,` + related + `{"taskId":"x"}}}`, `{"_meta":{"a":1}}`},
	} {
		for i, id := range [][]byte{[]byte(`"x"`), nil} {
			if got := string(relate([]byte(in), id)); got != want[i] {
				t.Errorf("%s with %s: %s, want %s", in, id, got, want[i])
			}
		}
	}
}

func TestRelateQuestions(t *testing.T) {
	t.Parallel()
	const in = `{"a":{"method":"m","params":{"_meta":{` + related + `{"taskId":"own"}},"n":1.0}},"b":{"params":{}},"c":1}`
	const want = `{"a":{"method":"m","params":{"_meta":{` + related + `{"taskId":"x"}},"n":1.0}},"b":{"params":{}},"c":1}`
	if got := string(relateQuestions([]byte(in), []byte(`"x"`))); got != want {
		t.Errorf("%s", got)
	}
}

func TestInterval(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]time.Duration{
		`{}`: 7 * time.Second, `{"pollIntervalMs":250}`: 250 * time.Millisecond, `{"pollInterval":2.5e2}`: 250 * time.Millisecond,
		`{"pollIntervalMs":0}`: pollLeast, `{"pollIntervalMs":-5}`: pollLeast, `{"pollIntervalMs":9007199254740991}`: pollMost,
		`{"pollIntervalMs":"1"}`: 7 * time.Second, `{"pollIntervalMs":null}`: 7 * time.Second, `{"pollIntervalMs":0.5}`: 7 * time.Second,
	} {
		if got := interval([]byte(in), 7*time.Second); got != want {
			t.Errorf("%s: %v, want %v", in, got, want)
		}
	}
}

// TestTaskToken: an id holds what it was made of, for its caller and endpoint, until it expires.
func TestTaskToken(t *testing.T) {
	t.Parallel()
	g := New(Options{})
	defer g.Close()
	as := func(who *identity.Principal, endpoint string) *Exchange {
		return &Exchange{Principal: who, Endpoint: endpoint}
	}
	ann, bob := &identity.Principal{Subject: "ann", Tenant: "t"}, &identity.Principal{Subject: "bob", Tenant: "t"}
	r := taskRef{server: "one", tool: "slow", id: "own \x00 id", modern: true, can: 5, replica: "r1"}
	for _, ttl := range []string{"", "null", "1", "-1", "1e300", `"x"`, "9007199254740991"} {
		token := g.sealTask(as(ann, ""), &r, []byte(ttl))
		if got, ok := g.openTaskID(as(ann, ""), token); !ok || got != r {
			t.Errorf("ttl %s: %+v, %v", ttl, got, ok)
		}
		for _, x := range []*Exchange{as(bob, ""), as(ann, "one")} {
			if _, ok := g.openTaskID(x, token); ok {
				t.Errorf("%s at %q opened ann's id", x.Principal.Subject, x.Endpoint)
			}
		}
	}
	x := as(ann, "")
	seal := func(kind string, payload []byte, life time.Duration) []byte {
		return mcp.AppendString(nil, g.o.Ring().Seal(kind, x.binding(), payload, life))
	}
	for name, token := range map[string][]byte{
		"expired": seal(taskKind, r.payload(), -time.Second), "a state": seal(stateKind, r.payload(), time.Hour),
		"empty": seal(taskKind, nil, time.Hour), "cut": seal(taskKind, r.payload()[:4], time.Hour), "no string": []byte("1"), "no token": []byte(`"1"`), "nothing": nil,
	} {
		if _, ok := g.openTaskID(x, token); ok {
			t.Errorf("%s opened", name)
		}
	}
}
