package mcp_test

import (
	"net/http"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/toolcrib/toolcrib/mcp"
)

func TestHeaderCodec(t *testing.T) {
	for text, want := range map[string]string{
		"us-west1":              "us-west1",
		"Hello, 世界":             "=?base64?SGVsbG8sIOS4lueVjA==?=",
		" padded ":              "=?base64?IHBhZGRlZCA=?=",
		"\ttab":                 "=?base64?CXRhYg==?=",
		"in\tside":              "in\tside",
		"line1\nline2":          "=?base64?bGluZTEKbGluZTI=?=",
		"=?base64?literal?=":    "=?base64?PT9iYXNlNjQ/bGl0ZXJhbD89?=",
		"=?base64?=":            "=?base64?PT9iYXNlNjQ/PQ==?=",
		"=?BASE64?x?=":          "=?BASE64?x?=",
		"=?base64?x":            "=?base64?x",
		"":                      "=?base64??=",
		"file:///a b?c=d%20e":   "file:///a b?c=d%20e",
		"\x7f":                  "=?base64?fw==?=",
		"\u00a0\u200d\u3000":    "=?base64?wqDigI3jgIA=?=",
		"evil\r\nX-Injected: 1": "=?base64?ZXZpbA0KWC1JbmplY3RlZDogMQ==?=",
	} {
		if got := string(mcp.AppendHeader(nil, []byte(text))); got != want {
			t.Errorf("AppendHeader(%q) = %q, want %q", text, got, want)
		}
		if got := string(mcp.AppendHeader([]byte("x"), []byte(text))); got != "x"+want {
			t.Errorf("AppendHeader(%q) = %q, want %q", text, got, want)
		}
		if got, err := mcp.DecodeHeader(" \t" + want + "\t "); got != text || err != nil {
			t.Errorf("DecodeHeader(%q) = %q, %v, want %q", want, got, err, text)
		}
	}
}

func TestDecodeHeaderRefuses(t *testing.T) {
	for _, v := range []string{
		"Zoë", "a\x00b", "a\nb", "a\rb", "\x7f", "\u00a0",
		"=?base64?x?=", "=?base64?eA?=", "=?base64?eA=?=", "=?base64?eA== ?=", "=?base64?!!!!?=", "=?base64?eB==?=",
		"=?base64?_w==?=", "=?base64?/w==?=", "=?base64?7aCA?=",
	} {
		if got, err := mcp.DecodeHeader(v); err == nil {
			t.Errorf("DecodeHeader(%q) = %q", v, got)
		}
	}
}

func FuzzHeader(f *testing.F) {
	for _, s := range []string{"x", "", " ", "=?base64?", "?=", "=?base64??=", "=?base64?=", "é", "\r\n", "a\tb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if text, err := mcp.DecodeHeader(s); err == nil && !utf8.ValidString(text) {
			t.Fatalf("DecodeHeader(%q) = %q", s, text)
		}
		if !utf8.ValidString(s) {
			return
		}
		v := string(mcp.AppendHeader(nil, []byte(s)))
		if strings.TrimSpace(v) != v || v == "" || strings.IndexFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r > '~' }) >= 0 {
			t.Fatalf("AppendHeader(%q) = %q is no header value", s, v)
		}
		if got, err := mcp.DecodeHeader(v); got != s || err != nil {
			t.Fatalf("DecodeHeader(AppendHeader(%q)) = %q, %v", s, got, err)
		}
	})
}

// raw scans a body.
func raw(t *testing.T, body string) *mcp.Raw {
	t.Helper()
	r := &mcp.Raw{Body: []byte(body)}
	if e := r.Scan(mcp.Limits{}); e != nil {
		t.Fatalf("%s: %v", body, e)
	}
	return r
}

// call is a modern request with the given method and further params.
func call(method, params string) string {
	return `{"jsonrpc":"2.0","id":1,"method":"` + method + `","params":{` + params +
		`"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}}}}`
}

func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ":")
		h.Add(name, value)
	}
	return h
}

const (
	version = "MCP-Protocol-Version: 2026-07-28"
	callTo  = "Mcp-Method: tools/call"
)

func TestCheckHeaders(t *testing.T) {
	find := call("tools/call", `"name":"find","arguments":{},`)
	for _, c := range []struct {
		name, body string
		h          http.Header
		code       int64
		text       []string
	}{
		{"good", find, headers(version, callTo, "Mcp-Name: find"), 0, nil},
		{"white space", find, headers("mcp-protocol-version:\t2026-07-28 ", "MCP-METHOD:  tools/call", "mcp-name: find\t"), 0, nil},
		{"needless sentinel", find, headers(version, callTo, "Mcp-Name: =?base64?ZmluZA==?="), 0, nil},
		{"escaped in the body", call("tools\\/call", `"name":"f\u0069nd",`), headers(version, callTo, "Mcp-Name: find"), 0, nil},
		{"non-ASCII name", call("prompts/get", `"name":"grüße",`), headers(version, "Mcp-Method: prompts/get", "Mcp-Name: "+string(mcp.AppendHeader(nil, []byte("grüße")))), 0, nil},
		{"uri", call("resources/read", `"uri":"file:///a b",`), headers(version, "Mcp-Method: resources/read", "Mcp-Name: file:///a b"), 0, nil},
		{"task", call("tasks/get", `"taskId":"t1",`), headers(version, "Mcp-Method: tasks/get", "Mcp-Name: t1"), 0, nil},
		{"no name needed", call("tools/list", ""), headers(version, "Mcp-Method: tools/list"), 0, nil},
		{"unknown method", call("vendor/x", ""), headers(version, "Mcp-Method: vendor/x"), 0, nil},
		{"empty name", call("tools/call", `"name":"",`), headers(version, callTo, "Mcp-Name: =?base64??="), 0, nil},

		{"no version", find, headers(callTo, "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"Mcp-Protocol-Version", "missing"}},
		{"no method", find, headers(version, "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"Mcp-Method", "missing"}},
		{"no name", find, headers(version, callTo), mcp.CodeHeaderMismatch, []string{"Mcp-Name", "missing"}},
		{"blank name", find, headers(version, callTo, "Mcp-Name:  "), mcp.CodeHeaderMismatch, []string{"Mcp-Name", "missing"}},
		{"two versions", find, headers(version, version, callTo, "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"Mcp-Protocol-Version", "2 times"}},
		{"two methods", find, headers(version, callTo, callTo, "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"Mcp-Method", "2 times"}},
		{"two names", find, headers(version, callTo, "Mcp-Name: find", "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"Mcp-Name", "2 times"}},
		{"other version", find, headers("MCP-Protocol-Version: 2025-11-25", callTo, "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"2025-11-25", "2026-07-28", "same value"}},
		{"other method", find, headers(version, "Mcp-Method: tools/list", "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"tools/list", "tools/call"}},
		{"method case", find, headers(version, "Mcp-Method: Tools/Call", "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"Tools/Call"}},
		{"other name", find, headers(version, callTo, "Mcp-Name: drop"), mcp.CodeHeaderMismatch, []string{`"drop"`, `"find"`, "name in the body"}},
		{"name case", find, headers(version, callTo, "Mcp-Name: Find"), mcp.CodeHeaderMismatch, []string{"Find"}},
		{"list in one header", find, headers(version, callTo, "Mcp-Name: find, find"), mcp.CodeHeaderMismatch, []string{"find, find"}},
		{"broken sentinel", find, headers(version, callTo, "Mcp-Name: =?base64?%%?="), mcp.CodeHeaderMismatch, []string{"malformed", "Base64"}},
		{"raw UTF-8", call("tools/call", `"name":"ü",`), headers(version, callTo, "Mcp-Name: ü"), mcp.CodeHeaderMismatch, []string{"malformed", "visible ASCII"}},
		{"sentinel in method", find, headers(version, "Mcp-Method: =?base64?dG9vbHMvY2FsbA==?=", "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"Mcp-Method"}},
		{"version number in body", strings.Replace(find, `"2026-07-28"`, `20260728`, 1), headers(version, callTo, "Mcp-Name: find"), mcp.CodeHeaderMismatch, []string{"20260728"}},
		{"no name in body", call("tools/call", ""), headers(version, callTo, "Mcp-Name: find"), mcp.CodeInvalidParams, []string{"params.name is missing"}},
		{"no version in body", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, headers(version, "Mcp-Method: tools/list"), mcp.CodeInvalidParams, []string{"protocolVersion"}},
		{"no version anywhere", `{"jsonrpc":"2.0","id":1,"method":"tools/list"}`, headers("Mcp-Method: tools/list"), mcp.CodeHeaderMismatch, []string{"Mcp-Protocol-Version"}},

		{"notification", `{"jsonrpc":"2.0","method":"notifications/cancelled"}`, headers(version), 0, nil},
		{"lying notification", `{"jsonrpc":"2.0","method":"notifications/cancelled"}`, headers(version, "Mcp-Method: tools/call"), mcp.CodeHeaderMismatch, []string{"Mcp-Method"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			checkError(t, mcp.CheckHeaders(c.h, raw(t, c.body)), c.code, c.text...)
		})
	}
}

func checkError(t *testing.T, e *mcp.Error, code int64, text ...string) {
	t.Helper()
	if e == nil {
		if code != 0 {
			t.Errorf("accepted, want %d", code)
		}
		return
	}
	if e.Code != code {
		t.Errorf("got %v, want %d", e, code)
	}
	for _, want := range text {
		if !strings.Contains(e.Message, want) {
			t.Errorf("got %v, want it to say %q", e, want)
		}
	}
}

func TestCheckHeadersDoesNotAllocate(t *testing.T) {
	r := raw(t, call("tools/call", `"name":"find","arguments":{},`))
	h := headers(version, callTo, "Mcp-Name: find")
	if n := testing.AllocsPerRun(50, func() {
		if e := mcp.CheckHeaders(h, r); e != nil {
			t.Fatal(e)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
