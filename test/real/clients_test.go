package real_test

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fixture is a server with what clients do with it. The answers do not depend
// on time or on earlier calls, so that direct and gateway can be compared.
type fixture struct {
	entry target
	steps []step
}

func call(tool string, arguments map[string]any) step {
	params := map[string]any{"name": tool}
	if arguments != nil {
		params["arguments"] = arguments
	}
	return step{Op: "call", Params: params}
}

func withProgress(s step) step {
	s.Progress = true
	return s
}

func promptStep(name string, arguments map[string]any) step {
	return step{Op: "prompt", Params: map[string]any{"name": name, "arguments": arguments}}
}

func read(uri string) step {
	return step{Op: "read", Params: map[string]any{"uri": uri}}
}

func completePrompt(prompt, argument, value string) step {
	return step{Op: "complete", Params: map[string]any{
		"ref":      map[string]any{"type": "ref/prompt", "name": prompt},
		"argument": map[string]any{"name": argument, "value": value},
	}}
}

func completeTemplate(uri, argument, value string) step {
	return step{Op: "complete", Params: map[string]any{
		"ref":      map[string]any{"type": "ref/resource", "uri": uri},
		"argument": map[string]any{"name": argument, "value": value},
	}}
}

// conformanceSteps is for the Go SDK's everything-server.
var conformanceSteps = []step{
	{Op: "tools"},
	{Op: "prompts"},
	{Op: "resources"},
	{Op: "templates"},
	call("test_simple_text", nil),
	call("test_image_content", nil),
	call("test_multiple_content_types", nil),
	call("test_error_handling", nil),
	call("test_x_mcp_header", map[string]any{"region": "Größe \u2603 "}),
	{Op: "call", Params: map[string]any{"name": "test_tool_with_progress"}, Progress: true, Varies: true},
	promptStep("test_prompt_with_arguments", map[string]any{"arg1": "a\u00a0b", "arg2": ""}),
	promptStep("no_such_prompt", nil),
	read("test://static-text"),
	read("test://static-binary"),
	read("test://template/123/data"),
	completePrompt("test_prompt_with_arguments", "arg1", "te"),
}

// everythingSteps is for the official server-everything, which has some tools
// only for clients that can be asked.
var everythingSteps = []step{
	{Op: "able"},
	{Op: "tools"},
	{Op: "prompts"},
	{Op: "resources"},
	{Op: "templates"},
	call("echo", map[string]any{"message": "\u00a0\u200d\u3000\ufeff \"\\ \u2028 ok"}),
	call("get-sum", map[string]any{"a": 2, "b": 40}),
	call("get-sum", map[string]any{"a": "no number"}),
	call("get-tiny-image", nil),
	call("get-structured-content", map[string]any{"location": "Chicago"}),
	call("get-annotated-message", map[string]any{"messageType": "error", "includeImage": true}),
	withProgress(call("trigger-long-running-operation", map[string]any{"duration": 0.4, "steps": 4})),
	promptStep("args-prompt", map[string]any{"city": "Ulm"}),
	promptStep("no-such-prompt", nil),
	read("demo://resource/static/document/features.md"),
	completePrompt("completable-prompt", "department", "S"),
	completeTemplate("demo://resource/dynamic/text/{resourceId}", "resourceId", "1"),
}

// exampleSteps is for the Go SDK's example server, whose tool names hold blanks.
var exampleSteps = []step{
	{Op: "tools"},
	{Op: "prompts"},
	{Op: "resources"},
	{Op: "templates"},
	call("greet", map[string]any{"name": "you"}),
	call("greet (structured)", map[string]any{"name": "you"}),
	call("greet (content with ResourceLink)", map[string]any{"name": "you"}),
	call("greet", nil),
	promptStep("greet", map[string]any{"name": "you"}),
	read("embedded:info"),
	completePrompt("greet", "name", "y"),
}

// fixtures starts or prepares every kind of server: both eras over HTTP, both
// over stdio, in Go and in TypeScript.
func fixtures(t *testing.T, p *parts) map[string]fixture {
	t.Helper()
	dir := t.TempDir()
	docs := filepath.Join(dir, "docs")
	write(t, filepath.Join(docs, "a.txt"), "first\nsecond\u00a0line \u3000\ufeff\n")
	write(t, filepath.Join(docs, "sub", "größe.md"), "# ☃\n")
	graph := filepath.Join(dir, "memory.jsonl")
	write(t, graph, `{"type":"entity","name":"Ada","entityType":"person","observations":["wrote the first program"]}
{"type":"entity","name":"Engine","entityType":"machine","observations":[]}
{"type":"relation","from":"Ada","to":"Engine","relationType":"programmed"}`)
	npm := func(name string, args ...string) target {
		return target{Command: p.node, Args: append([]string{p.server(name)}, args...)}
	}
	memory := npm("memory")
	memory.Env = map[string]string{"MEMORY_FILE_PATH": graph}
	example := filepath.Join(p.goBin, "everything")
	return map[string]fixture{
		"http-modern":  {target{URL: everythingServer(t, p, true)}, conformanceSteps},
		"http-legacy":  {target{URL: everythingServer(t, p, false)}, conformanceSteps},
		"stdio-modern": {target{Command: example}, exampleSteps},
		"stdio-legacy": {python(t, "legacy.py", example), exampleSteps},
		"python": {python(t, "plain.py"), []step{
			{Op: "tools"},
			call("reverse", map[string]any{"text": "a\u00a0größe ☃ 👩\u200d👧"}),
			call("reverse", map[string]any{}),
			call("fail", nil),
		}},
		"thinking": {npm("sequential-thinking"), []step{
			{Op: "tools"},
			{Op: "call", Varies: true, Params: map[string]any{"name": "sequentialthinking", "arguments": map[string]any{ // it counts its calls
				"thought": "a\u00a0b", "thoughtNumber": 1, "totalThoughts": 2, "nextThoughtNeeded": true,
			}}},
			call("sequentialthinking", map[string]any{"thought": 1}),
		}},
		"everything": {npm("everything", "stdio"), everythingSteps},
		"files": {npm("filesystem", docs), []step{
			{Op: "tools"},
			call("list_directory", map[string]any{"path": docs}),
			call("read_text_file", map[string]any{"path": filepath.Join(docs, "a.txt")}),
			call("read_multiple_files", map[string]any{"paths": []string{filepath.Join(docs, "a.txt"), filepath.Join(docs, "sub", "größe.md"), filepath.Join(docs, "none")}}),
			call("search_files", map[string]any{"path": docs, "pattern": "**/*.md"}),
			call("read_text_file", map[string]any{"path": "/etc/hostname"}), // outside of what it may read
		}},
		"memory": {memory, []step{
			{Op: "tools"},
			{Op: "resources"},
			call("read_graph", nil),
			call("search_nodes", map[string]any{"query": "engine"}),
			call("open_nodes", map[string]any{"names": []string{"Ada"}}),
			read("memory://knowledge-graph"),
		}},
	}
}

// python is a script of fixtures/python with the interpreter that Debian has; a user's own may stand before it in PATH.
func python(t *testing.T, script string, args ...string) target {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("fixtures", "python", script))
	if err != nil {
		t.Fatal(err)
	}
	interpreter := "/usr/bin/python3"
	if _, err := os.Stat(interpreter); err != nil {
		interpreter = "python3"
	}
	return target{Command: interpreter, Args: append([]string{path}, args...)}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestClients lets each client in each era work with each server: directly,
// through the gateway's endpoint of that server, and through the endpoint that
// joins all servers. What it sees must be the same.
func TestClients(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	all := fixtures(t, p)
	direct := askDirectly(t, p, all)
	if t.Failed() {
		return // nothing to compare with
	}
	t.Run("one", func(t *testing.T) { testOne(t, p, all, direct) })
	t.Run("joined", func(t *testing.T) { testJoined(t, p, all, direct) })
}

func entriesOf(all map[string]fixture) map[string]server {
	entries := map[string]server{}
	for name, f := range all {
		entries[name] = f.entry
	}
	return entries
}

// asked is a kind of client and the server that it asked.
type asked struct{ client, server string }

// askDirectly gives what each kind of client sees of each server without the
// gateway. It connects in the legacy era, which every server speaks: what
// comparison looks at does not differ between eras.
func askDirectly(t *testing.T, p *parts, all map[string]fixture) map[asked]report {
	t.Helper()
	var mu sync.Mutex
	reports := map[asked]report{}
	t.Run("direct", func(t *testing.T) {
		for name, f := range all {
			for _, c := range clients {
				if c.name != c.like {
					continue
				}
				t.Run(name+"/"+c.name, func(t *testing.T) {
					t.Parallel()
					r := c.drive(t, p, f.entry, c.era, f.steps)
					mu.Lock()
					defer mu.Unlock()
					reports[asked{c.name, name}] = r
				})
			}
		}
	})
	return reports
}

func testOne(t *testing.T, p *parts, all map[string]fixture, direct map[asked]report) {
	t.Parallel()
	base := gateway(t, entriesOf(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		for _, c := range clients {
			t.Run(name+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				got := c.drive(t, p, target{URL: base + "/servers/" + name + "/mcp"}, c.era, f.steps)
				checkSession(t, c, got)
				for i, want := range direct[asked{c.like, name}].Steps {
					checkStep(t, f.steps[i], got.Steps[i], want)
				}
			})
		}
	}
}

// testJoined uses names that carry the server's name in front.
func testJoined(t *testing.T, p *parts, all map[string]fixture, direct map[asked]report) {
	t.Parallel()
	all = maps.Clone(all)
	delete(all, "http-legacy")  // has the resources of http-modern
	delete(all, "stdio-legacy") // has those of stdio-modern
	base := gateway(t, entriesOf(all))
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			steps, want := join(all, func(name string) []seen { return direct[asked{c.like, name}].Steps })
			got := c.drive(t, p, target{URL: base + "/mcp"}, c.era, steps)
			checkSession(t, c, got)
			for i := range steps {
				checkStep(t, steps[i], got.Steps[i], want[i])
			}
		})
	}
}

// join makes the steps at the joined endpoint, and what they must give, out of
// the steps at each server and what they gave.
func join(all map[string]fixture, direct func(server string) []seen) (steps []step, want []seen) {
	ops := []string{"tools", "prompts", "resources", "templates"}
	for _, op := range ops {
		steps = append(steps, step{Op: op})
		want = append(want, seen{Op: op, Result: []any{}})
	}
	for _, server := range slices.Sorted(maps.Keys(all)) {
		for i, got := range direct(server) {
			s := all[server].steps[i]
			if at := slices.Index(ops, s.Op); at >= 0 {
				want[at].Result = append(want[at].Result.([]any), prefixNames(got, server)...)
				continue
			}
			steps = append(steps, prefixed(s, server))
			want = append(want, got)
		}
	}
	return steps, want
}

// prefixed is a step as a client of the joined endpoint takes it.
func prefixed(s step, server string) step {
	s.Params = maps.Clone(s.Params)
	if name, ok := s.Params["name"].(string); ok {
		s.Params["name"] = server + "__" + name
	}
	if ref, ok := s.Params["ref"].(map[string]any); ok && ref["name"] != nil {
		ref = maps.Clone(ref)
		ref["name"] = server + "__" + ref["name"].(string)
		s.Params["ref"] = ref
	}
	return s
}

// prefixNames gives a server's list as it appears in the joined list.
func prefixNames(s seen, server string) []any {
	var out []any
	for _, item := range s.Result.([]any) {
		entry := maps.Clone(item.(map[string]any))
		if s.Op == "tools" || s.Op == "prompts" {
			entry["name"] = server + "__" + entry["name"].(string)
		}
		out = append(out, entry)
	}
	return out
}

func checkSession(t *testing.T, c client, got report) {
	t.Helper()
	if got.Server.Version != c.wants {
		t.Errorf("negotiated version %q, want %q", got.Server.Version, c.wants)
	}
	for _, fault := range got.Errors {
		if strings.Contains(fault, "progress notification for an unknown token") {
			continue // the last one and the result in one read: the client handles the result first
		}
		t.Errorf("the client reports: %s", fault)
	}
}

// checkStep compares what a client saw through the gateway with the direct answer.
func checkStep(t *testing.T, s step, got, want seen) {
	t.Helper()
	name := fmt.Sprintf("%s %v", s.Op, s.Params)
	if (got.Error == nil) != (want.Error == nil) {
		t.Errorf("%s: error %+v, without the gateway %+v", name, got.Error, want.Error)
		return
	}
	if want.Error != nil {
		if got.Error.Code != want.Error.Code {
			t.Errorf("%s: error %+v, without the gateway %+v", name, got.Error, want.Error)
		}
		return
	}
	if diff := cmp.Diff(withoutEra(want.Result), withoutEra(got.Result)); diff != "" && !s.Varies {
		t.Errorf("%s differs (- direct, + gateway):\n%s", name, clip(diff))
	}
	if s.Progress {
		checkProgress(t, name, got.Progress)
	}
}

// checkProgress wants the notifications of the server in their order. The last
// may be lost by the client, when it arrives together with the result.
func checkProgress(t *testing.T, name string, got []map[string]any) {
	t.Helper()
	if len(got) < 2 {
		t.Errorf("%s: %d progress notifications, want at least 2", name, len(got))
	}
	for i := 1; i < len(got); i++ {
		if got[i]["progress"].(float64) <= got[i-1]["progress"].(float64) || got[i]["total"] != got[0]["total"] {
			t.Errorf("%s: progress out of order: %v", name, got)
		}
	}
}

// eraMembers are the members of results, and of a tool in a list, that only one
// of the eras has; a client of the other drops them.
var eraMembers = []string{"_meta", "resultType", "ttlMs", "cacheScope", "execution"}

// withoutEra leaves out what the eras add to a result, and the order of lists.
func withoutEra(result any) any {
	switch r := result.(type) {
	case map[string]any:
		r = maps.Clone(r)
		for _, member := range eraMembers {
			delete(r, member)
		}
		for _, list := range []string{"tools", "prompts", "resources", "resourceTemplates"} {
			if r[list] != nil {
				r[list] = withoutEra(r[list])
			}
		}
		return r
	case []any:
		r = slices.Clone(r)
		for i, item := range r {
			r[i] = withoutEra(item)
		}
		slices.SortFunc(r, func(a, b any) int { return strings.Compare(sortKey(a), sortKey(b)) })
		return r
	}
	return result
}

func sortKey(item any) string {
	m := item.(map[string]any)
	return fmt.Sprint(m["name"], " ", m["uri"], m["uriTemplate"])
}

// clip bounds what a failure prints.
func clip(s string) string {
	const most = 4000
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
