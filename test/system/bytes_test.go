package system_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// corpus is an object that does not survive being decoded and encoded again.
var corpus = `{"big":9007199254740993,"one":1.0,"huge":1e400,"small":-0.0,"exp":1E+2,"z":1,"a":2,"Z":3,` +
	`"escapes":"\u0061\u0041a\/ / \u002F \u0000\b\f\n\r\t\"\\","looksdouble":"\"z\":1,\"z\":2","\u007a":"z again","name":"inner","_meta":{"x":1},` +
	"\"spaces\":\"\u00a0|\u200d|\u3000|\ufeff|\u2028|\u2029|\u00a0\",\"combined\":\"👩\u200d👩\u200d👧 é e\u0301\",\"html\":\"<a href='x'>&amp;</a>\"," +
	`"lone":"\ud800|\udfff|\udc00\ud800","pair":"\ud83d\ude00","empty":"","no":[],"nothing":{},"null":null,"deep":[[],[[]],{"":{}},[{}]] , "gap" :  [ 1 ,2 ] }`

// pretty is the same with line ends between tokens.
var pretty = strings.NewReplacer(`,"one"`, ",\n\t\"one\"", ` , "gap"`, "\n,\n  \"gap\"").Replace(corpus)

// sameBut tells whether a result arrived as it was sent, but for members that the gateway put at its front.
func sameBut(got, sent string, added ...string) bool {
	if got == sent {
		return true
	}
	rest, ok := strings.CutSuffix(got, sent[1:])
	if !ok || !strings.HasPrefix(rest, "{") {
		return false
	}
	for _, a := range added {
		rest = strings.Replace(rest, a+",", "", 1)
	}
	return rest == "{"
}

var addedToLegacy = []string{`"resultType":"complete"`, `"ttlMs":0`, `"cacheScope":"private"`}

// carried are the requests that go through to a server; %[1]s is the prefix of names, %[2]s the corpus.
var carried = map[string]string{
	"tools/call":           `"name":"%[1]secho","arguments":%[2]s,"extra":%[2]s`,
	"tools/call ":          `"extra":%[2]s,"arguments":%[2]s,"name":"%[1]s\u0065cho"`,
	"prompts/get":          `"name":"%[1]sask","arguments":%[2]s,"extra":%[2]s`,
	"resources/read":       `"uri":"test://r/1","arguments":%[2]s,"extra":%[2]s`,
	"completion/complete":  `"ref":{"type":"ref/prompt","name":"%[1]sask"},"argument":%[2]s,"arguments":%[2]s,"extra":%[2]s`,
	"completion/complete ": `"argument":%[2]s,"arguments":%[2]s,"extra":%[2]s,"ref":{"uri":"test://t/{x}","type":"ref/resource"}`,
}

// TestBytes: arguments, unknown members and results arrive byte for byte as they left, in every pairing.
func TestBytes(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		result := func(c *testenv.Call) {
			body := corpus
			if !k.stdio {
				body = pretty
			}
			members := `"structuredContent":` + body + `,"content":[],"messages":[],"contents":[],"completion":{"values":[]},"vendor":` + body
			if k.era == testenv.Modern {
				members = `"resultType":"complete","ttlMs":0,"cacheScope":"private",` + members
			}
			c.Result("{" + members + "}")
		}
		script := testenv.Script{
			Tools: []string{testenv.Tool("echo")}, Prompts: []string{`{"name":"ask"}`},
			Resources: []string{`{"uri":"test://r/1","name":"r"}`}, Templates: []string{`{"uriTemplate":"test://t/{x}","name":"t"}`},
			On: map[string]func(*testenv.Call){"tools/call": result, "prompts/get": result, "resources/read": result, "completion/complete": result},
		}
		s := k.server(t, script)
		other := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1), Resources: []string{`{"uri":"other://1","name":"o"}`}})
		g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s, "other": other}})
		for _, path := range []string{"/mcp", "/servers/one/mcp"} {
			client, prefix := g.Client(era, path), ""
			if path == "/mcp" {
				prefix = "one__"
			}
			for method, members := range carried {
				for _, args := range []string{corpus, pretty} {
					checkBytes(t, s, client, k, strings.TrimSpace(method), fmt.Sprintf(members, prefix, args), args)
				}
			}
		}
	})
}

func checkBytes(t *testing.T, s *testenv.Server, client *testenv.Client, k kind, method, members, args string) {
	t.Helper()
	n := len(s.Received(method))
	r := client.Do(testenv.Request{Method: method, ID: `"i\u0064 \ud800 1"`, Members: members, Meta: `"com.example/x":1.0`})
	if r.Status != 200 || r.ID() != `"i\u0064 \ud800 1"` {
		t.Fatalf("%s: id %s, %v", method, r.ID(), r)
	}
	got := s.Await(method, n+1)
	want := args
	if k.stdio {
		want = strings.ReplaceAll(args, "\n", " ")
	}
	for _, name := range []string{"arguments", "extra"} {
		if got.Param(name) != want {
			t.Errorf("%s: %s changed\nsent %s\ngot  %s", method, name, want, got.Param(name))
		}
	}
	if got.Meta("com.example/x") != "1.0" {
		t.Errorf("%s: _meta changed: %s", method, got.Param("_meta"))
	}
	if name := got.Param("name"); name != "" && name != `"echo"` && name != `"ask"` && name != `"\u0065cho"` {
		t.Errorf("%s: the server was asked for %s", method, name)
	}
	body := corpus
	if !k.stdio {
		body = pretty
	}
	sent := `"structuredContent":` + body + `,"content":[],"messages":[],"contents":[],"completion":{"values":[]},"vendor":` + body + "}"
	if k.era == testenv.Modern {
		sent = `"resultType":"complete","ttlMs":0,"cacheScope":"private",` + sent
	}
	added := addedToLegacy
	if client.Era == testenv.Legacy {
		added = nil
	}
	if !sameBut(string(r.Result()), "{"+sent, added...) {
		t.Errorf("%s: result changed\nsent {%s\ngot  %s", method, sent, r.Result())
	}
}
