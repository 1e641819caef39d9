package mcp_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/mcp"
)

const boundSchema = ` {"type":"object","properties":{
	"region":{"type":"string","x-mcp-header":"Region"},
	"where":{"type":"object","properties":{"properties":{"type":"integer","x-mcp-header":"Row"},"x-mcp-header":{"type":"string"}}},
	"dry":{"x-mcp-header":"Dry-Run","type":"boolean","default":{"x-mcp-header":5}},
	"plain":{"type":"array","items":{"type":"number","enum":[{"x-mcp-header":""}]}}
},"$defs":{"x-mcp-header":{"type":"string"}},"examples":[{"x-mcp-header":1}]} `

func TestParams(t *testing.T) {
	got, err := mcp.Params([]byte(boundSchema))
	if err != nil {
		t.Fatal(err)
	}
	want := []mcp.Param{
		{Header: "Region", Path: []string{"region"}, Type: "string"},
		{Header: "Row", Path: []string{"where", "properties"}, Type: "integer"},
		{Header: "Dry-Run", Path: []string{"dry"}, Type: "boolean"},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	for _, schema := range []string{`{}`, ``, `true`, `{"type":"object"}`, `{"description":"\u0041"}`, `"x-mcp-header"`, `{"description":"x-mcp-header"}`} {
		if got, err := mcp.Params([]byte(schema)); len(got) != 0 || err != nil {
			t.Errorf("Params(%s) = %v, %v", schema, got, err)
		}
	}
}

func TestParamsRefuses(t *testing.T) {
	property := func(s string) string { return `{"type":"object","properties":{"a":` + s + `}}` }
	bound := `{"type":"string","x-mcp-header":"A"}`
	for name, c := range map[string]struct{ schema, text string }{
		"empty":             {property(`{"type":"string","x-mcp-header":""}`), "field name"},
		"not text":          {property(`{"type":"string","x-mcp-header":5}`), "field name"},
		"null":              {property(`{"type":"string","x-mcp-header":null}`), "field name"},
		"space":             {property(`{"type":"string","x-mcp-header":"My Region"}`), "field name"},
		"colon":             {property(`{"type":"string","x-mcp-header":"a:b"}`), "field name"},
		"CR LF":             {property(`{"type":"string","x-mcp-header":"a\r\nb"}`), "field name"},
		"non-ASCII":         {property(`{"type":"string","x-mcp-header":"Région"}`), "field name"},
		"number":            {property(`{"type":"number","x-mcp-header":"A"}`), "needs the type"},
		"object":            {property(`{"type":"object","x-mcp-header":"A"}`), "needs the type"},
		"type list":         {property(`{"type":["string","null"],"x-mcp-header":"A"}`), "needs the type"},
		"no type":           {property(`{"x-mcp-header":"A"}`), "needs the type"},
		"root":              {`{"type":"string","x-mcp-header":"A"}`, "only properties"},
		"items":             {property(`{"type":"array","items":` + bound + `}`), "only properties"},
		"prefixItems":       {property(`{"type":"array","prefixItems":[` + bound + `]}`), "only properties"},
		"oneOf":             {property(`{"oneOf":[` + bound + `]}`), "only properties"},
		"root anyOf":        {`{"anyOf":[{"properties":{"a":` + bound + `}}]}`, "only properties"},
		"if":                {`{"if":{"properties":{"a":` + bound + `}}}`, "only properties"},
		"not":               {`{"not":` + bound + `}`, "only properties"},
		"$defs":             {`{"$defs":{"a":` + bound + `}}`, "only properties"},
		"pattern":           {`{"patternProperties":{".*":` + bound + `}}`, "only properties"},
		"additional":        {`{"additionalProperties":` + bound + `}`, "only properties"},
		"inside a vendor's": {`{"x-vendor":{"deep":[` + bound + `]}}`, "only properties"},
		"escaped":           {property(`{"type":"number","x-mcp-\u0068eader":"A"}`), "needs the type"},
		"twice":             {`{"properties":{"a":` + bound + `,"b":{"properties":{"c":` + strings.Replace(bound, `"A"`, `"a"`, 1) + `}}}}`, "used twice"},
		"duplicate key":     {property(`{"type":"string","x-mcp-header":"A","x-mcp-header":"B"}`), "duplicate key"},
		"duplicate type":    {property(`{"type":"string","type":"number","x-mcp-header":"A"}`), "duplicate key"},
		"broken":            {`{"x-mcp-header":`, "invalid JSON"},
	} {
		if got, err := mcp.Params([]byte(c.schema)); err == nil || !strings.Contains(err.Error(), c.text) {
			t.Errorf("%s: got %v, %v, want %q", name, got, err, c.text)
		}
	}
}

func bound(t *testing.T) []mcp.Param {
	t.Helper()
	ps, err := mcp.Params([]byte(boundSchema))
	if err != nil {
		t.Fatal(err)
	}
	return ps
}

func TestCheckParams(t *testing.T) {
	ps := bound(t)
	for _, c := range []struct {
		name, arguments string
		h               []string
		code            int64
		text            []string
	}{
		{"none", `{}`, nil, 0, nil},
		{"no arguments", ``, nil, 0, nil},
		{"all", `{"region":"eu","where":{"properties":42},"dry":true}`, []string{"Mcp-Param-Region: eu", "mcp-param-row: 42", "MCP-PARAM-DRY-RUN: true"}, 0, nil},
		{"encoded", `{"region":"Zürich"}`, []string{"Mcp-Param-Region: =?base64?WsO8cmljaA==?="}, 0, nil},
		{"empty", `{"region":""}`, []string{"Mcp-Param-Region:"}, 0, nil},
		{"empty encoded", `{"region":""}`, []string{"Mcp-Param-Region: =?base64??="}, 0, nil},
		{"numerically equal", `{"where":{"properties":42.0}}`, []string{"Mcp-Param-Row: 4.2e1"}, 0, nil},
		{"null", `{"region":null,"dry":null}`, nil, 0, nil},
		{"null on the way", `{"where":null}`, nil, 0, nil},
		{"unknown header", `{}`, []string{"Mcp-Param-Other: x"}, 0, nil},

		{"missing", `{"region":"eu"}`, nil, mcp.CodeHeaderMismatch, []string{"Mcp-Param-Region", "missing", "arguments.region"}},
		{"nested missing", `{"where":{"properties":1}}`, nil, mcp.CodeHeaderMismatch, []string{"Mcp-Param-Row", "arguments.where.properties"}},
		{"other", `{"region":"eu"}`, []string{"Mcp-Param-Region: us"}, mcp.CodeHeaderMismatch, []string{`"us"`, `"eu"`, "same value"}},
		{"case", `{"region":"eu"}`, []string{"Mcp-Param-Region: EU"}, mcp.CodeHeaderMismatch, []string{"EU"}},
		{"other number", `{"where":{"properties":42}}`, []string{"Mcp-Param-Row: 43"}, mcp.CodeHeaderMismatch, []string{"43"}},
		{"not a number", `{"where":{"properties":42}}`, []string{"Mcp-Param-Row: 42x"}, mcp.CodeHeaderMismatch, []string{"42x"}},
		{"number as text", `{"region":"42"}`, []string{"Mcp-Param-Region: 42.0"}, mcp.CodeHeaderMismatch, []string{"42.0"}},
		{"unsafe integer", `{"where":{"properties":9007199254740993}}`, []string{"Mcp-Param-Row: 9007199254740993"}, mcp.CodeHeaderMismatch, nil},
		{"object", `{"region":{}}`, []string{"Mcp-Param-Region: {}"}, mcp.CodeHeaderMismatch, nil},
		{"lone surrogate", `{"region":"\ud800"}`, []string{"Mcp-Param-Region: x"}, mcp.CodeHeaderMismatch, nil},
		{"for null", `{"region":null}`, []string{"Mcp-Param-Region: null"}, mcp.CodeHeaderMismatch, []string{"leave it out"}},
		{"for nothing", `{}`, []string{"Mcp-Param-Region: eu"}, mcp.CodeHeaderMismatch, []string{"leave it out"}},
		{"twice", `{"region":"eu"}`, []string{"Mcp-Param-Region: eu", "Mcp-Param-Region: us"}, mcp.CodeHeaderMismatch, []string{"2 times"}},
		{"malformed", `{"region":"eu"}`, []string{"Mcp-Param-Region: =?base64?e?="}, mcp.CodeHeaderMismatch, []string{"malformed"}},
		{"raw UTF-8", `{"region":"ü"}`, []string{"Mcp-Param-Region: ü"}, mcp.CodeHeaderMismatch, []string{"malformed"}},
		{"duplicate argument", `{"region":"eu","region":"us"}`, []string{"Mcp-Param-Region: eu"}, mcp.CodeInvalidParams, []string{"duplicate key"}},
		{"case variant", `{"region":"eu","Region":"us"}`, []string{"Mcp-Param-Region: eu"}, mcp.CodeInvalidParams, []string{"differs only in case"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			params := `"name":"x",`
			if c.arguments != "" {
				params += `"arguments":` + c.arguments + `,`
			}
			checkError(t, mcp.CheckParams(ps, headers(c.h...), raw(t, call("tools/call", params))), c.code, c.text...)
		})
	}
}

func TestAppendParamHeaders(t *testing.T) {
	ps := bound(t)
	for arguments, want := range map[string]string{
		`{}`: "",
		`{"region":"eu","where":{"properties":4.2e1},"dry":false}`: "Mcp-Param-Region: eu\r\nMcp-Param-Row: 42\r\nMcp-Param-Dry-Run: false\r\n",
		`{"region":"a\r\nEvil: 1","where":{"properties":-0}}`:      "Mcp-Param-Region: =?base64?YQ0KRXZpbDogMQ==?=\r\nMcp-Param-Row: 0\r\n",
		`{"region":"\u00fc"}`: "Mcp-Param-Region: =?base64?w7w=?=\r\n",
		`{"region":null}`:     "",
		`{"region":""}`:       "Mcp-Param-Region: =?base64??=\r\n",
	} {
		r := raw(t, call("tools/call", `"name":"x","arguments":`+arguments+`,`))
		got, e := mcp.AppendParamHeaders([]byte("A: b\r\n"), ps, r)
		if e != nil || string(got) != "A: b\r\n"+want {
			t.Errorf("%s: got %q, %v, want %q", arguments, got, e, want)
			continue
		}
		// What is made must pass the check.
		h := headers(strings.Split(strings.TrimSuffix(want, "\r\n"), "\r\n")...)
		if e := mcp.CheckParams(ps, h, r); e != nil {
			t.Errorf("%s: %v", arguments, e)
		}
	}
	for _, arguments := range []string{`{"region":[]}`, `{"where":{"properties":1.5}}`, `{"where":{"properties":9007199254740992}}`, `{"region":"\ud800"}`, `{"dry":1,"dry":2}`} {
		r := raw(t, call("tools/call", `"name":"x","arguments":`+arguments+`,`))
		if got, e := mcp.AppendParamHeaders(nil, ps, r); e == nil || e.Code != mcp.CodeInvalidParams {
			t.Errorf("%s: got %q, %v", arguments, got, e)
		}
	}
}

func TestAppendParamHeadersDoesNotAllocate(t *testing.T) {
	ps := bound(t)
	r := raw(t, call("tools/call", `"name":"x","arguments":{"region":"Zürich","where":{"properties":42},"dry":true},`))
	dst := make([]byte, 0, 500)
	if n := testing.AllocsPerRun(50, func() { dst, _ = mcp.AppendParamHeaders(dst[:0], ps, r) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
