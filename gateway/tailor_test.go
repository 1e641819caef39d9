package gateway

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
)

// entry compiles what a toolset says of a tool.
func entry(t testing.TB, fix map[string]v1.Literal, hide ...string) *plan.ToolsetTool {
	t.Helper()
	c := &v1.Config{
		MCPServers: map[string]*v1.Server{"s": {Command: "s"}},
		Toolsets:   map[string]*v1.Toolset{"t": {Servers: []string{"s"}, Tools: map[string]v1.ToolsetTool{"*": {Fix: fix, Hide: hide}}}},
	}
	c.SetDefaults()
	p, err := plan.Compile(c)
	if err != nil {
		t.Fatal(err)
	}
	_, _, tool := p.Toolset("t").FindTool([]byte("s__x"))
	return tool
}

func request(params string) *mcp.Raw {
	in := &mcp.Raw{Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":` + params + `}`)}
	if e := in.Scan(mcp.Limits{}); e != nil {
		return nil
	}
	return in
}

// TestTailorTool: arguments leave the schemas that hold without condition, and nothing else changes.
func TestTailorTool(t *testing.T) {
	tool := entry(t, map[string]v1.Literal{"index": `1`, "é": `2`}, "debug")
	for name, row := range map[string][3]string{
		"nothing to do": {`{"a":1.0}`, `{"a":1.0}`, ""},
		"properties":    {`{"properties":{"index":{},"q":{ },"debug":true}}`, `{"properties":{"q":{ }}}`, ""},
		"all of them":   {`{"properties":{"index":{},"debug":true}}`, `{"properties":{}}`, ""},
		"escaped":       {`{"properties":{"\u0069ndex":{},"\u00e9":{},"é":{}},"requ\u0069red":["i\u006edex","q"]}`, `{"properties":{},"requ\u0069red":["q"]}`, ""},
		"required":      {`{"required":[ "index" , "q" , "debug" ]}`, `{"required":[  "q"  ]}`, ""},
		"first":         {`{"required":["q","index"]}`, `{"required":["q"]}`, ""},
		"none left":     {`{"a":1,"required":["index"],"b":2}`, `{"a":1,"b":2}`, ""},
		"only member":   {`{"required":["index"]}`, `{}`, ""},
		"twice":         {`{"properties":{"index":1},"properties":{"index":2,"q":3}}`, `{"properties":{},"properties":{"q":3}}`, ""},
		"deeper":        {`{"properties":{"q":{"properties":{"index":{}},"required":["index"]}}}`, `{"properties":{"q":{"properties":{"index":{}},"required":["index"]}}}`, ""},
		"property's name": {
			`{"properties":{"properties":{"index":{}},"required":["index"],"allOf":[{"required":["index"]}]}}`,
			`{"properties":{"properties":{"index":{}},"required":["index"],"allOf":[{"required":["index"]}]}}`, "",
		},
		"allOf":  {`{"allOf":[{"required":["index","q"]},{"allOf":[{"properties":{"debug":{}}}]}]}`, `{"allOf":[{"required":["q"]},{"allOf":[{"properties":{}}]}]}`, ""},
		"anyOf":  {`{"anyOf":[{"required":["index"]},{"required":["q"]}]}`, `{"anyOf":[{"required":["index"]},{"required":["q"]}]}`, "index"},
		"$ref":   {`{"$ref":"#/$defs/A","$defs":{"A":{"properties":{"debug":{}}}}}`, `{"$ref":"#/$defs/A","$defs":{"A":{"properties":{"debug":{}}}}}`, "debug"},
		"if":     {`{"if":{"properties":{"q":{}}},"then":{"required":["d\u0065bug"]}}`, `{"if":{"properties":{"q":{}}},"then":{"required":["d\u0065bug"]}}`, "debug"},
		"odd":    {`{"properties":7,"required":"index","allOf":{"index":1}}`, `{"properties":7,"required":"index","allOf":{"index":1}}`, ""},
		"no map": {`true`, `true`, ""},
	} {
		raw := []byte(`{"name":"x","inputSchema":` + row[0] + `,"z":1e400}`)
		var e mcp.Edits
		left := tailorTool(&e, raw, tool)
		if got, want := string(e.Append(nil, raw)), `{"name":"x","inputSchema":`+row[1]+`,"z":1e400}`; got != want || left != row[2] {
			t.Errorf("%s: %s\nbecame %s\nnot    %s; left %q", name, raw, got, want, left)
		}
	}
}

// TestSetText: a text takes the place of what was there, or comes in front.
func TestSetText(t *testing.T) {
	for raw, want := range map[string]string{
		`{"title":"a","b":1.0}`:               `{"title":"é\"","b":1.0}`,
		`{"b":1.0}`:                           `{"title":"é\"","b":1.0}`,
		`{"t\u0069tle":{"a":1},"title":null}`: `{"t\u0069tle":"é\""}`,
		`{ }`:                                 `{"title":"é\"" }`,
	} {
		var e mcp.Edits
		setText(&e, []byte(raw), mcp.Span{End: int32(len(raw))}, "title", `é"`)
		if got := string(e.Append(nil, []byte(raw))); got != want {
			t.Errorf("%s became %s, not %s", raw, got, want)
		}
	}
}

// jsonMembers are those of a raw object in their order, keys decoded; ok is false where something is no proper text.
func jsonMembers(t *testing.T, raw []byte) (keys []string, values []json.RawMessage) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(raw))
	if _, err := dec.Token(); err != nil {
		t.Fatal(err)
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		var v json.RawMessage
		if err := dec.Decode(&v); err != nil {
			t.Fatalf("%s: %v", raw, err)
		}
		keys, values = append(keys, key.(string)), append(values, v)
	}
	return keys, values
}

// FuzzArguments: against a model that decodes, calls have the fixed arguments once, in front, none of the hidden ones, and all
// others as they came.
func FuzzArguments(f *testing.F) {
	for _, args := range []string{
		`{}`, `null`, ``, `{"index":1}`, `{"a":1,"index":2,"b":[1.0]}`, `{"\u0069ndex":1,"index":{"index":1}}`, ` {  "a" : 1 ,"index" : 2 } `,
		`{"debug":1}`, `{"INDEX":1}`, `[]`, `"x"`, `{"second":1,"index":2,"second":3}`, `{"\ud800index":1}`, `{"ſecond":1}`, `{"a":{"debug":1}}`,
	} {
		f.Add(args)
	}
	tool := entry(f, fixedHere, "debug")
	f.Fuzz(func(t *testing.T, args string) { checkArguments(t, tool, args) })
}

// fixedHere are the fixed arguments of those tests; debug is hidden.
var fixedHere = map[string]v1.Literal{"index": `"tickets"`, "second": `[1.0,9007199254740993]`}

// TestArguments: the same for many objects that are about the arguments in question.
func TestArguments(t *testing.T) {
	tool := entry(t, fixedHere, "debug")
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func(all ...string) string { return all[rnd.IntN(len(all))] }
	var object func(depth int) string
	object = func(depth int) string {
		var b strings.Builder
		b.WriteString("{" + pick("", " ", "\n\t"))
		for i := range rnd.IntN(6) {
			if i > 0 {
				b.WriteString(pick(",", " ,", ", ", "\r\n,\t"))
			}
			b.WriteString(pick(`"index"`, `"\u0069ndex"`, `"second"`, `"s\u0065cond"`, `"a"`, `"b"`, `"index "`, `""`, `"\ud800"`, `"é"`, pick(`"c"`, `"debug"`, `"Index"`)))
			b.WriteString(pick(":", " : "))
			if depth > 0 && rnd.IntN(4) == 0 {
				b.WriteString(object(depth - 1))
			} else {
				b.WriteString(pick("1", "1.0", "1e400", "null", `"index"`, `[]`, `[{"index":1}]`, "true", `"},{"`))
			}
		}
		return b.String() + pick("}", " }")
	}
	for range 5_000 {
		checkArguments(t, tool, object(2))
	}
}

func checkArguments(t *testing.T, tool *plan.ToolsetTool, args string) {
	t.Helper()
	params := `{"name":"x"}`
	if args != "" {
		params = `{"name":"x","extra":1.0,"arguments":` + args + `,"z":{"index":1}}`
	}
	in := request(params)
	if in == nil || !json.Valid([]byte(params)) || args != "" && string(bytes.TrimSpace([]byte(args))) != string(in.Get(mcp.KeyArguments).Of(in.Body)) {
		return
	}
	before := string(in.Body)
	x := &Exchange{In: *in}
	err := x.tailorArguments(tool)
	sent := bytes.TrimSpace([]byte(args))
	var keys []string
	var values []json.RawMessage
	if len(sent) > 0 && string(sent) != "null" {
		if sent[0] != '{' {
			if err == nil {
				t.Fatalf("%s was taken", before)
			}
			return
		}
		keys, values = jsonMembers(t, sent)
	}
	wantKeys, wantValues := []string{"index", "second"}, []json.RawMessage{json.RawMessage(fixedHere["index"]), json.RawMessage(fixedHere["second"])}
	refused := false
	for i, key := range keys {
		switch {
		case fixedHere[key] != "":
		case key == "debug", strings.EqualFold(key, "index"), strings.EqualFold(key, "second"), strings.EqualFold(key, "debug"):
			refused = true
		default:
			wantKeys, wantValues = append(wantKeys, key), append(wantValues, values[i])
		}
	}
	if refused != (err != nil) {
		t.Fatalf("%s: refused %v: %v", before, refused, err)
	}
	if refused {
		return
	}
	gotKeys, gotValues := jsonMembers(t, x.In.Get(mcp.KeyArguments).Of(x.In.Body))
	if diff := cmp.Diff(wantKeys, gotKeys) + cmp.Diff(wantValues, gotValues); diff != "" {
		t.Fatalf("%s\nbecame %s\n(-want +got):\n%s", before, x.In.Body, diff)
	}
	again := string(x.In.Body)
	if x.tailored = false; x.tailorArguments(tool) != nil || again != string(x.In.Body) {
		t.Fatalf("a second time %s\nbecomes %s", again, x.In.Body)
	}
	if args != "" {
		head, tail, _ := strings.Cut(before, `"arguments":`)
		if !strings.HasPrefix(again, head) || !strings.HasSuffix(again, strings.TrimPrefix(tail, args)) {
			t.Fatalf("%s\nbecame %s", before, again)
		}
	}
}

// FuzzSchema: against a model that decodes, a schema loses the arguments at its top, and nothing else.
func FuzzSchema(f *testing.F) {
	for _, schema := range []string{
		`{}`, `{"properties":{"index":{},"q":1.0},"required":["index","q"]}`, `{"required":["index"]}`, `{"required":["q","index","debug"],"x":[1e400]}`,
		`{"properties":{"\u0069ndex":1,"a":2,"debug":3}}`, `{"allOf":[{"required":["debug"]}]}`, `true`, `{"properties":[],"required":{}}`, `{"required":[1,"index",null]}`,
	} {
		f.Add(schema)
	}
	tool := entry(f, map[string]v1.Literal{"index": `1`}, "debug")
	f.Fuzz(func(t *testing.T, schema string) {
		raw := `{"name":"x","inputSchema":` + schema + `,"z":1.0}`
		probe := &mcp.Raw{Body: []byte(`{"jsonrpc":"2.0","id":1,"result":` + raw + `}`)}
		if e := probe.Scan(mcp.Limits{}); e != nil || !json.Valid([]byte(raw)) || string(at([]byte(raw), "inputSchema")) != strings.TrimSpace(schema) ||
			strings.Contains(schema, "allOf") || strings.Contains(schema, `\u`) && strings.Contains(schema, "llOf") {
			t.Skip()
		}
		var e mcp.Edits
		tailorTool(&e, []byte(raw), tool)
		got := e.Append(nil, []byte(raw))
		if !json.Valid(got) {
			t.Fatalf("%s\nbecame %s", raw, got)
		}
		if diff := cmp.Diff(model(t, []byte(schema)), decodedJSON(t, at(got, "inputSchema"))); diff != "" {
			t.Fatalf("%s\nbecame %s\n(-want +got):\n%s", raw, got, diff)
		}
	})
}

func decodedJSON(t *testing.T, raw []byte) any {
	t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatal(err)
	}
	return v
}

// model is what a schema is to be without the arguments index and debug.
func model(t *testing.T, schema []byte) any {
	t.Helper()
	v := decodedJSON(t, schema)
	m, ok := v.(map[string]any)
	if !ok {
		return v
	}
	gone := func(name any) bool { return name == "index" || name == "debug" }
	if p, ok := m["properties"].(map[string]any); ok {
		maps.DeleteFunc(p, func(k string, _ any) bool { return gone(k) })
	}
	if r, ok := m["required"].([]any); ok && slices.ContainsFunc(r, gone) {
		if r = slices.DeleteFunc(r, gone); len(r) == 0 {
			delete(m, "required")
		} else {
			m["required"] = r
		}
	}
	return m
}
