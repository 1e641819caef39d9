package system_test

import (
	"encoding/base64"
	"net/http"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

func sentinel(text string) string {
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(text)) + "?="
}

// TestHeaderLies: whatever headers say besides the body is refused before it reaches a server.
func TestHeaderLies(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("echo"), testenv.Tool("other")}})
	g := testenv.Serve(t, testenv.One(s))
	lies := map[string]http.Header{
		"no method":           {"Mcp-Method": nil},
		"other method":        {"Mcp-Method": {"tools/list"}},
		"method in capitals":  {"Mcp-Method": {"Tools/Call"}},
		"method encoded":      {"Mcp-Method": {sentinel("tools/call")}},
		"two methods":         {"Mcp-Method": {"tools/call", "tools/call"}},
		"no name":             {"Mcp-Name": nil},
		"empty name":          {"Mcp-Name": {""}},
		"other name":          {"Mcp-Name": {"other"}},
		"two names":           {"Mcp-Name": {"echo", "other"}},
		"name not base64":     {"Mcp-Name": {"=?base64?*?="}},
		"other name encoded":  {"Mcp-Name": {sentinel("other")}},
		"name of the list":    {"Mcp-Name": {"one__echo"}},
		"no version":          {"Mcp-Protocol-Version": nil},
		"legacy version":      {"Mcp-Protocol-Version": {"2025-11-25"}},
		"two versions":        {"Mcp-Protocol-Version": {testenv.ModernVersion, "2025-11-25"}},
		"version of tomorrow": {"Mcp-Protocol-Version": {"2027-01-01"}},
	}
	client := g.Modern("/servers/one/mcp")
	for name, h := range lies {
		r := client.Do(testenv.Request{ID: `"lie"`, Method: "tools/call", Members: `"name":"echo","arguments":{}`, Header: h})
		code, text := r.Error()
		if r.Status != 400 || code != -32020 || r.ID() != `"lie"` || !strings.Contains(strings.ToLower(text), "header mcp-") {
			t.Errorf("%s: %v", name, r)
		}
	}
	if n := len(s.Received("tools/call")); n > 0 {
		t.Errorf("%d lies reached the server", n)
	}
	for name, h := range map[string]http.Header{
		"encoded": {"Mcp-Name": {sentinel("echo")}}, "as it is": nil, "a session id is ignored": {"Mcp-Session-Id": {"nonsense"}},
	} {
		if r := client.Do(testenv.Request{Method: "tools/call", Members: `"name":"echo"`, Header: h}); r.Texts() != "done" {
			t.Errorf("%s: %v", name, r)
		}
	}
}

// TestNamesBeyondASCII reach servers of both eras, and their results come back.
func TestNamesBeyondASCII(t *testing.T) {
	t.Parallel()
	eachPair(t, func(t *testing.T, era testenv.Era, k kind) {
		names := []string{"wörk", "=?base64?eA==?=", " led by space", "日本"}
		var tools []string
		for _, n := range names {
			tools = append(tools, testenv.Tool(n))
		}
		s := k.server(t, testenv.Script{Tools: tools})
		g := testenv.Serve(t, testenv.One(s))
		for path, prefix := range map[string]string{"/mcp": "one__", "/servers/one/mcp": ""} {
			client := g.Client(era, path)
			for _, name := range names {
				q := testenv.Request{Method: "tools/call", Members: `"name":"` + prefix + name + `"`}
				if era == testenv.Modern {
					q.Header = http.Header{"Mcp-Name": {sentinel(prefix + name)}}
				}
				if r := client.Do(q); r.Texts() != "done" {
					t.Errorf("%s%s: %v", prefix, name, r)
				}
			}
		}
		for i, r := range s.Received("tools/call") {
			if want := names[i%len(names)]; r.Param("name") != `"`+want+`"` {
				t.Errorf("the server was asked for %s, not %q", r.Param("name"), want)
			}
		}
	})
}

const regional = `{"name":"find","inputSchema":{"type":"object","properties":{"region":{"type":"string","x-mcp-header":"Region"},` +
	`"at":{"type":"object","properties":{"n":{"type":"integer","x-mcp-header":"At-N"}}}}}}`

// TestParamHeaders are checked against the body for every server, passed on to modern HTTP servers, and made for them.
func TestParamHeaders(t *testing.T) {
	t.Parallel()
	eachKind(t, func(t *testing.T, k kind) {
		s := k.server(t, testenv.Script{Tools: []string{regional}})
		g := testenv.Serve(t, testenv.One(s))
		client := g.Modern("/mcp")
		client.Call("tools/list", "")
		call := func(arguments string, h http.Header) *testenv.Reply {
			return client.Do(testenv.Request{ID: "77", Method: "tools/call", Members: `"name":"one__find","arguments":` + arguments, Header: h})
		}
		for name, c := range map[string]struct {
			args string
			h    http.Header
		}{
			"missing":       {`{"region":"eu"}`, nil},
			"other":         {`{"region":"eu"}`, http.Header{"Mcp-Param-Region": {"us"}}},
			"twice":         {`{"region":"eu"}`, http.Header{"Mcp-Param-Region": {"eu", "us"}}},
			"no base64":     {`{"region":"eu"}`, http.Header{"Mcp-Param-Region": {"=?base64?!?="}}},
			"for nothing":   {`{}`, http.Header{"Mcp-Param-Region": {"eu"}}},
			"number":        {`{"at":{"n":7}}`, http.Header{"Mcp-Param-At-N": {"8"}}},
			"inner missing": {`{"at":{"n":7}}`, nil},
		} {
			r := call(c.args, c.h)
			if code, text := r.Error(); r.Status != 400 || code != -32020 || r.ID() != "77" || !strings.Contains(text, "Mcp-Param") {
				t.Errorf("%s: %v", name, r)
			}
		}
		if n := len(s.Received("tools/call")); n > 0 {
			t.Errorf("%d lies reached the server", n)
		}
		good := []struct {
			args string
			h    http.Header
		}{
			{`{"region":"eu","at":{"n":42.0}}`, http.Header{"Mcp-Param-Region": {"eu"}, "Mcp-Param-At-N": {"42"}, "Mcp-Param-Unknown": {"x"}}},
			{`{"region":"Zürich"}`, http.Header{"Mcp-Param-Region": {sentinel("Zürich")}}},
			{`{"region":null}`, nil},
		}
		for i, c := range good {
			if r := call(c.args, c.h); r.Texts() != "done" {
				t.Errorf("%s: %v", c.args, r)
			}
			rec := s.Await("tools/call", i+1)
			if k.era == testenv.Modern && !k.stdio {
				for name, v := range c.h {
					if rec.Header.Get(name) != v[0] {
						t.Errorf("the server got %s %q, not %q", name, rec.Header.Get(name), v[0])
					}
				}
			}
		}
		legacy := g.Legacy("/mcp")
		if r := legacy.Tool("one__find", `{"region":"Zürich","at":{"n":42.0}}`); r.Texts() != "done" {
			t.Errorf("legacy client: %v", r)
		}
		rec := s.Await("tools/call", len(good)+1)
		if k.era == testenv.Modern && !k.stdio && (rec.Header.Get("Mcp-Param-Region") != sentinel("Zürich") || !strings.HasPrefix(rec.Header.Get("Mcp-Param-At-N"), "42")) {
			t.Errorf("headers made for a legacy client: %v", rec.Header)
		}
	})
}

// TestUnknown methods, names and versions get the status and code that their era has for them.
func TestUnknown(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	two := testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(1)})
	g := testenv.Serve(t, testenv.Config{Servers: map[string]*testenv.Server{"one": s, "two": two}})
	rows := []struct {
		method, members string
		modern, legacy  int
		code            int64
		say             string
	}{
		{"no/such", "", 404, 200, -32601, "no/such"},
		{"Tools/List", "", 404, 200, -32601, "Tools/List"},
		{"tasks/list", ``, 404, 200, -32601, "tasks/list"},
		{"tools/call", `"name":"nobody__x"`, 400, 200, -32602, "nobody__x"},
		{"tools/call", `"name":"tool0000"`, 400, 200, -32602, "tool0000"},
		{"prompts/get", `"name":"x"`, 400, 200, -32602, "x"},
		{"tools/call", ``, 400, 200, -32602, "name"},
		{"completion/complete", ``, 400, 200, -32602, "ref"},
		{"completion/complete", `"ref":{"type":"x"}`, 400, 200, -32602, "ref"},
		{"tools/list", `"cursor":"x"`, 400, 200, -32602, "cursor"},
		{"tools/list", `"cursor":7`, 400, 200, -32602, "cursor"},
	}
	modern, legacy := g.Modern("/mcp"), g.Legacy("/mcp")
	for _, row := range rows {
		q := testenv.Request{ID: `"u"`, Method: row.method, Members: row.members}
		for client, want := range map[*testenv.Client]int{modern: row.modern, legacy: row.legacy} {
			r := client.Do(q)
			if code, text := r.Error(); r.Status != want || code != row.code || r.ID() != `"u"` || !strings.Contains(text, row.say) {
				t.Errorf("%s, %s %s: %v, want HTTP %d and %d", client.Era, row.method, row.members, r, want, row.code)
			}
		}
	}
	for _, client := range []*testenv.Client{modern, legacy} {
		code := map[testenv.Era]int64{testenv.Modern: -32602, testenv.Legacy: -32602}[client.Era]
		if got, _ := client.Call("resources/read", `"uri":"none://x"`).Error(); got != code {
			t.Errorf("%s, unknown resource: %d, want %d", client.Era, got, code)
		}
	}
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2031-01-01","io.modelcontextprotocol/clientCapabilities":{}}}}`
	r := modern.Do(testenv.Request{Body: []byte(body), Header: http.Header{"Mcp-Protocol-Version": {"2031-01-01"}}})
	if code, _ := r.Error(); r.Status != 400 || code != -32022 || !strings.Contains(r.Data(), `"2026-07-28"`) || !strings.Contains(r.Data(), `"requested":"2031-01-01"`) {
		t.Errorf("version of tomorrow: %v", r)
	}
	if r := legacy.Initialize("1999-01-01"); r.Member("protocolVersion") != `"2025-11-25"` {
		t.Errorf("initialize with an unknown version: %v", r)
	}
	legacy.Version = "2031-01-01"
	if r := legacy.Call("tools/list", ""); r.Status != 400 {
		t.Errorf("unknown version in a session: %v", r)
	}
}

// TestMeta: what _meta must have is demanded by name.
func TestMeta(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	client := g.Modern("/mcp")
	for meta, say := range map[string]string{
		`{}`: "protocolVersion",
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28"}`:                                                                                           "clientCapabilities",
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":1}`:                                            "clientCapabilities",
		`{"io.modelcontextprotocol/protocolVersion":20260728,"io.modelcontextprotocol/clientCapabilities":{}}`:                                               "protocolVersion",
		`{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{},"io.modelcontextprotocol/logLevel":"loud"}`: "logLevel",
	} {
		r := client.Post([]byte(`{"jsonrpc":"2.0","id":9,"method":"tools/list","params":{"_meta":` + meta + `}}`))
		if code, text := r.Error(); r.Status != 400 || code != -32602 || r.ID() != "9" || !strings.Contains(text, say) {
			t.Errorf("%s: %v", meta, r)
		}
	}
}

// TestBadBodies: each gets its status and code, the id where it could be read, and no body reaches a server.
func TestBadBodies(t *testing.T) {
	t.Parallel()
	s := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(1)})
	c := testenv.One(s)
	c.More = map[string]any{"messages": map[string]any{"maxBytes": "64Ki", "maxDepth": 32}}
	g := testenv.Serve(t, c)
	good := `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"tool0000","arguments":%,"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
	with := func(args string) string { return strings.Replace(good, "%", args, 1) }
	rows := map[string]struct {
		body   string
		status int
		code   int64
	}{
		"empty":              {"", 400, -32700},
		"no JSON":            {"hello", 400, -32700},
		"cut off":            {with("{}")[:60], 400, -32700},
		"two values":         {with("{}") + "{}", 400, -32700},
		"not UTF-8":          {with("{\"a\":\"\xff\"}"), 400, -32700},
		"overlong":           {with("{\"a\":\"\xc0\xaf\"}"), 400, -32700},
		"raw control":        {with("{\"a\":\"\x01\"}"), 400, -32700},
		"byte order mark":    {"\ufeff" + with("{}"), 400, -32700},
		"leading zero":       {with("01"), 400, -32700},
		"NaN":                {with("NaN"), 400, -32700},
		"too deep":           {with(strings.Repeat("[", 40) + strings.Repeat("]", 40)), 400, -32600},
		"string":             {`"hello"`, 400, -32600},
		"number":             {`7`, 400, -32600},
		"no version":         {strings.Replace(with("{}"), `"jsonrpc":"2.0",`, "", 1), 400, -32600},
		"other version":      {strings.Replace(with("{}"), `"2.0"`, `"1.0"`, 1), 400, -32600},
		"id is an object":    {strings.Replace(with("{}"), `"id":5`, `"id":{}`, 1), 400, -32600},
		"id is null":         {strings.Replace(with("{}"), `"id":5`, `"id":null`, 1), 400, -32600},
		"params an array":    {`{"jsonrpc":"2.0","id":5,"method":"tools/list","params":[]}`, 400, 0},
		"id twice":           {strings.Replace(with("{}"), `"id":5`, `"id":5,"id":6`, 1), 400, -32600},
		"method twice":       {strings.Replace(with("{}"), `"method"`, `"method":"tools/list","method"`, 1), 400, -32600},
		"name twice":         {strings.Replace(with("{}"), `"name"`, `"name":"other","name"`, 1), 400, 0},
		"escaped name twice": {strings.Replace(with("{}"), `"name"`, `"n\u0061me":"other","name"`, 1), 400, 0},
		"Name":               {strings.Replace(with("{}"), `"name"`, `"Name":"other","name"`, 1), 400, 0},
		"long s":             {strings.Replace(with("{}"), `"arguments"`, `"argumentſ":{},"arguments"`, 1), 400, 0},
		"name a number":      {strings.Replace(with("{}"), `"tool0000"`, `7`, 1), 400, 0},
		"batch":              {"[" + with("{}") + "]", 400, 0},
		"too large":          {with(`"` + strings.Repeat("x", 70<<10) + `"`), 413, 413},
	}
	for name, row := range rows {
		r := g.Modern("/servers/one/mcp").Do(testenv.Request{Body: []byte(row.body), Header: http.Header{
			"Mcp-Method": {"tools/call"}, "Mcp-Name": {"tool0000"},
		}})
		code, text := r.Error()
		if r.Status != row.status || code == 0 || row.code != 0 && code != row.code || text == "" {
			t.Errorf("%s: %v, want HTTP %d and %d", name, r, row.status, row.code)
		}
	}
	if n := len(s.Received("tools/call")); n > 0 {
		t.Errorf("%d bad bodies reached the server", n)
	}
	for name, row := range map[string]struct {
		h      http.Header
		status int
	}{
		"text":            {http.Header{"Content-Type": {"text/plain"}}, 415},
		"no type":         {http.Header{"Content-Type": nil}, 415},
		"two types":       {http.Header{"Content-Type": {"application/json", "text/plain"}}, 415},
		"with charset":    {http.Header{"Content-Type": {"application/json; charset=utf-8"}}, 200},
		"accepts HTML":    {http.Header{"Accept": {"text/html"}}, 406},
		"accepts no SSE":  {http.Header{"Accept": {"application/json"}}, 406},
		"accepts in two":  {http.Header{"Accept": {"application/json", "text/event-stream"}}, 200},
		"accepts all":     {http.Header{"Accept": {"*/*"}}, 200},
		"accepts by rank": {http.Header{"Accept": {"text/event-stream;q=0.5, application/json"}}, 200},
	} {
		r := g.Modern("/servers/one/mcp").Do(testenv.Request{Method: "tools/call", Members: `"name":"tool0000"`, Header: row.h})
		if r.Status != row.status {
			t.Errorf("%s: %v, want HTTP %d", name, r, row.status)
		}
	}
}
