package mcp_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/mcp"
)

func scan(t *testing.T, body string) mcp.Message {
	t.Helper()
	var m mcp.Message
	if e := mcp.Scan([]byte(body), &m, mcp.Limits{}); e != nil {
		t.Fatalf("Scan(%.200s): %v", body, e)
	}
	return m
}

func TestScanFindsEverything(t *testing.T) {
	body := []byte(smallCall)
	m := scan(t, smallCall)
	got := map[string]string{
		"id": string(m.ID.Of(body)), "method": string(m.MethodText.Of(body)),
		"name":      string(m.Get(mcp.KeyName).Of(body)),
		"arguments": string(m.Get(mcp.KeyArguments).Of(body)),
		"version":   string(m.GetMeta(mcp.MetaProtocolVersion).Of(body)),
		"caps":      string(m.GetMeta(mcp.MetaClientCapabilities).Of(body)),
		"token":     string(m.GetMeta(mcp.MetaProgressToken).Of(body)),
		"key":       string(m.Fields[mcp.KeyName].Name(body)),
	}
	want := map[string]string{
		"id": "7", "method": `"tools/call"`, "name": `"crm.find"`, "arguments": `{"region":"eu","q":"acme","limit":25}`,
		"version": `"2026-07-28"`, "caps": "{}", "token": `"p7"`, "key": `"name"`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if m.Kind != mcp.KindRequest || m.Method != mcp.MethodToolsCall || m.Newlines {
		t.Errorf("kind %v, method %v, newlines %v", m.Kind, m.Method, m.Newlines)
	}
	if m.Get(mcp.KeyCursor).Present() || m.GetMeta(mcp.MetaBaggage).Present() || m.Get(mcp.KeyNone).Present() || m.Get(200).Present() || m.GetMeta(200).Present() {
		t.Error("a member that is not there is present")
	}
}

func TestScanAgreesWithNaiveReader(t *testing.T) {
	for _, body := range goodMessages {
		compare(t, []byte(body))
		var m mcp.Message
		if e := mcp.Scan([]byte(body), &m, mcp.Limits{}); e != nil {
			t.Errorf("Scan(%.200s): %v", body, e)
		}
		for i := range len(body) {
			compare(t, []byte(body[:i]))
		}
	}
	for _, body := range badGrammar {
		compare(t, []byte(body))
	}
	for _, bb := range benchBodies {
		compare(t, bb.body)
	}
}

// compare holds the verdict and the findings of Scan against the naive reader.
func compare(t *testing.T, body []byte) {
	t.Helper()
	var got mcp.Message
	lim := mcp.Limits{Depth: 1024}
	e := mcp.Scan(body, &got, lim)
	if e != nil && strings.HasPrefix(e.Message, "message refused at byte") {
		return
	}
	if got.Kind == mcp.KindBatch {
		spans, e := mcp.Split(body, lim)
		if e == nil != validJSON(body) && (e == nil || e.Code == mcp.CodeParse) {
			t.Fatalf("Split(%q): %d elements, %v", body, len(spans), e)
		}
		return
	}
	if valid := validJSON(body); valid == (e != nil && e.Code == mcp.CodeParse) {
		t.Fatalf("Scan(%q): valid %v, got %v", body, valid, e)
	} else if !valid || bytes.TrimLeft(body, " \t\r\n")[0] != '{' {
		if e == nil {
			t.Fatalf("Scan(%q) accepts", body)
		}
		return
	}
	want, ok := naiveScan(body)
	if ok != (e == nil) {
		t.Fatalf("Scan(%q): should accept: %v, got %v", body, ok, e)
	}
	if !ok {
		return
	}
	want.Newlines = got.Newlines
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("Scan(%q): %s", body, d)
	}
}

func FuzzScan(f *testing.F) {
	for _, list := range [][]string{goodMessages, badGrammar} {
		for _, body := range list {
			f.Add([]byte(body))
		}
	}
	for _, r := range refusals {
		f.Add([]byte(r.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) { compare(t, body) })
}

const (
	longS  = "\u017f"
	kelvin = "\u212a"
)

var refusals = []struct {
	name, body string
	code       int64
	text       string // in the message
}{
	{"scalar", `"x"`, mcp.CodeInvalidRequest, "must be a JSON object"},
	{"no version", `{"id":1,"method":"x"}`, mcp.CodeInvalidRequest, "jsonrpc"},
	{"wrong version", `{"jsonrpc":"1.0","id":1,"method":"x"}`, mcp.CodeInvalidRequest, "jsonrpc"},
	{"version number", `{"jsonrpc":2.0,"id":1,"method":"x"}`, mcp.CodeInvalidRequest, "jsonrpc"},
	{"nothing", `{"jsonrpc":"2.0","id":1}`, mcp.CodeInvalidRequest, "neither method, result nor error"},
	{"null id", `{"jsonrpc":"2.0","id":null,"method":"x"}`, mcp.CodeInvalidRequest, "id"},
	{"bool id", `{"jsonrpc":"2.0","id":true,"method":"x"}`, mcp.CodeInvalidRequest, "id must be a string or a number"},
	{"object id", `{"jsonrpc":"2.0","id":{},"method":"x"}`, mcp.CodeInvalidRequest, "id must be a string or a number"},
	{"array id", `{"jsonrpc":"2.0","id":[1],"method":"x"}`, mcp.CodeInvalidRequest, "id must be a string or a number"},
	{"result without id", `{"jsonrpc":"2.0","result":{}}`, mcp.CodeInvalidRequest, "id"},
	{"result null id", `{"jsonrpc":"2.0","id":null,"result":{}}`, mcp.CodeInvalidRequest, "id"},
	{"method number", `{"jsonrpc":"2.0","id":1,"method":5}`, mcp.CodeInvalidRequest, "method must be a string"},
	{"method null", `{"jsonrpc":"2.0","id":1,"method":null}`, mcp.CodeInvalidRequest, "method must be a string"},
	{"method lone surrogate", `{"jsonrpc":"2.0","id":1,"method":"\udfff"}`, mcp.CodeInvalidRequest, "lone surrogate"},
	{"params array", `{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}`, mcp.CodeInvalidRequest, "params must be an object"},
	{"params null", `{"jsonrpc":"2.0","id":1,"method":"x","params":null}`, mcp.CodeInvalidRequest, "params must be an object"},
	{"result array", `{"jsonrpc":"2.0","id":1,"result":[]}`, mcp.CodeInvalidRequest, "result must be an object"},
	{"result string", `{"jsonrpc":"2.0","id":1,"result":"ok"}`, mcp.CodeInvalidRequest, "result must be an object"},
	{"error string", `{"jsonrpc":"2.0","id":1,"error":"no"}`, mcp.CodeInvalidRequest, "error must be an object"},
	{"error without code", `{"jsonrpc":"2.0","id":1,"error":{"message":"x"}}`, mcp.CodeInvalidRequest, "error.code"},
	{"error code text", `{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":"x"}}`, mcp.CodeInvalidRequest, "error.code"},
	{"error code fraction", `{"jsonrpc":"2.0","id":1,"error":{"code":1.5,"message":"x"}}`, mcp.CodeInvalidRequest, "error.code"},
	{"error code huge", `{"jsonrpc":"2.0","id":1,"error":{"code":1e400,"message":"x"}}`, mcp.CodeInvalidRequest, "error.code"},
	{"error without message", `{"jsonrpc":"2.0","id":1,"error":{"code":1}}`, mcp.CodeInvalidRequest, "error.message"},
	{"error message number", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":2}}`, mcp.CodeInvalidRequest, "error.message"},
	{"result and error", `{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}`, mcp.CodeInvalidRequest, "only one of"},
	{"method and result", `{"jsonrpc":"2.0","id":1,"method":"x","result":{}}`, mcp.CodeInvalidRequest, "not result"},
	{"params and result", `{"jsonrpc":"2.0","id":1,"method":"x","params":{},"result":{}}`, mcp.CodeInvalidRequest, "only one of"},
	{"meta array", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":[]}}`, mcp.CodeInvalidParams, "_meta must be an object"},
	{"meta null", `{"jsonrpc":"2.0","id":1,"result":{"_meta":null}}`, mcp.CodeInvalidRequest, "_meta must be an object"},
	{"name number", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":5}}`, mcp.CodeInvalidParams, "params.name must be a string"},
	{"uri object", `{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{"uri":{}}}`, mcp.CodeInvalidParams, "params.uri must be a string"},
	{"taskId null", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"taskId":null}}`, mcp.CodeInvalidParams, "params.taskId must be a string"},

	{"duplicate id", `{"jsonrpc":"2.0","id":1,"id":2,"method":"x"}`, mcp.CodeInvalidRequest, `duplicate key: "id"`},
	{"duplicate method", `{"jsonrpc":"2.0","id":1,"method":"x","method":"x"}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate params", `{"jsonrpc":"2.0","id":1,"method":"x","params":{},"params":{}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate unknown", `{"jsonrpc":"2.0","id":1,"method":"x","foo":1,"bar":2,"foo":3}`, mcp.CodeInvalidRequest, `duplicate key: "foo"`},
	{"duplicate name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","name":"b"}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate in result", `{"jsonrpc":"2.0","id":1,"result":{"vendor":1,"vendor":1}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate in error", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"code":2,"message":""}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate _meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{},"_meta":{}}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate in _meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"progressToken":1,"progressToken":1}}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate unknown in _meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"a/b":1,"a/b":1}}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"escaped duplicate", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a","n\u0061me":"b"}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"escaped unknown duplicate", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"f\u006fo":1,"foo":1}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"duplicate far behind", `{"jsonrpc":"2.0","id":1,"method":"x","params":{` + manyKeys(40) + `,"keykkk":1}}`, mcp.CodeInvalidRequest, "duplicate key"},
	{"escaped duplicate far behind", `{"jsonrpc":"2.0","id":1,"method":"x","params":{` + manyKeys(40) + `,"a":1,"\u0061":1}}`, mcp.CodeInvalidRequest, "duplicate key"},

	{"Method", `{"jsonrpc":"2.0","id":1,"method":"x","Method":"y"}`, mcp.CodeInvalidRequest, "differs only in case from method"},
	{"ID alone", `{"jsonrpc":"2.0","ID":1,"method":"x"}`, mcp.CodeInvalidRequest, "differs only in case from id"},
	{"paramſ", `{"jsonrpc":"2.0","id":1,"method":"x","param` + longS + `":{}}`, mcp.CodeInvalidRequest, "differs only in case from params"},
	{"Name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"safe","Name":"danger"}}`, mcp.CodeInvalidRequest, "differs only in case from name"},
	{"taſkId", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"ta` + longS + `kId":"t"}}`, mcp.CodeInvalidRequest, "differs only in case from taskId"},
	{"tasKId", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"tas` + kelvin + `Id":"t"}}`, mcp.CodeInvalidRequest, "differs only in case from taskId"},
	{"escaped fold", `{"jsonrpc":"2.0","id":1,"method":"tasks/get","params":{"tas\u212aid":"t"}}`, mcp.CodeInvalidRequest, "differs only in case from taskId"},
	{"_Meta", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_Meta":{}}}`, mcp.CodeInvalidRequest, "differs only in case from _meta"},
	{"ProgressToken", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"PROGRESSTO` + kelvin + `EN":1}}}`, mcp.CodeInvalidRequest, "differs only in case from progressToken"},
	{"meta prefix", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"IO.modelcontextprotocol/protocolVersion":1}}}`, mcp.CodeInvalidRequest, "differs only in case"},
	{"ResultType", `{"jsonrpc":"2.0","id":1,"result":{"resulttype":"task"}}`, mcp.CodeInvalidRequest, "differs only in case from resultType"},
	{"iſError", `{"jsonrpc":"2.0","id":1,"result":{"i` + longS + `Error":true}}`, mcp.CodeInvalidRequest, "differs only in case from isError"},
	{"Code", `{"jsonrpc":"2.0","id":1,"error":{"code":1,"message":"","CODE":2}}`, mcp.CodeInvalidRequest, "differs only in case from code"},

	{"lone surrogate key", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"\ud800":1}}`, mcp.CodeInvalidRequest, "lone surrogate"},
	{"lone surrogate top key", `{"jsonrpc":"2.0","id":1,"method":"x","\udc00\ud800":1}`, mcp.CodeInvalidRequest, "lone surrogate"},
	{"lone surrogate meta key", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"_meta":{"\ud800\u0041":1}}}`, mcp.CodeInvalidRequest, "lone surrogate"},
	{"lone surrogate name", `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"\ud800"}}`, mcp.CodeInvalidParams, "lone surrogate"},
	{"lone surrogate uri", `{"jsonrpc":"2.0","id":1,"method":"x","params":{"uri":"a\udfff"}}`, mcp.CodeInvalidParams, "lone surrogate"},
	{"lone surrogate taskId", `{"jsonrpc":"2.0","id":1,"result":{"taskId":"\ud800\ud800"}}`, mcp.CodeInvalidRequest, "lone surrogate"},
}

func TestScanRefuses(t *testing.T) {
	for _, r := range refusals {
		t.Run(r.name, func(t *testing.T) {
			var m mcp.Message
			e := mcp.Scan([]byte(r.body), &m, mcp.Limits{})
			if e == nil {
				t.Fatalf("accepted: %+v", m)
			}
			if e.Code != r.code || !strings.Contains(e.Message, r.text) {
				t.Errorf("got %v, want %d with %q", e, r.code, r.text)
			}
			if m.Kind != mcp.KindInvalid {
				t.Errorf("kind %v of a refused message", m.Kind)
			}
			compare(t, []byte(r.body))
		})
	}
}

func TestScanRefusesBadGrammar(t *testing.T) {
	for _, body := range badGrammar {
		var m mcp.Message
		e := mcp.Scan([]byte(body), &m, mcp.Limits{})
		if m.Kind == mcp.KindBatch {
			_, e = mcp.Split([]byte(body), mcp.Limits{})
		}
		if e == nil || e.Code != mcp.CodeParse || !strings.Contains(e.Message, "byte") {
			t.Errorf("Scan(%q): got %v, want %d", body, e, mcp.CodeParse)
		}
	}
}

func TestScanNamesFault(t *testing.T) {
	for body, want := range map[string]string{
		"":                       "the body is empty",
		"\ufeff{}":               "byte order mark",
		`{} {}`:                  "at byte 3: something follows",
		`{"a":"` + "\xff" + `"}`: "at byte 6: the string is not valid UTF-8",
		`{"a":"` + "\x01" + `"}`: "at byte 6: a control character",
		`{"a":[1,2`:              "ends in the middle",
		`{"a":"bcdefghijklmnopq`: "ends in the middle",
		`{"a":01}`:               "at byte 6: a comma",
		`{"a":"\q"}`:             "at byte 6: the escape",
		`{"a":tru}`:              "at byte 5: a JSON value",
		`{"a" 1}`:                "at byte 5: a colon",
		`{"a":{"b" 1}}`:          "at byte 10: a colon",
		`{1:1}`:                  "at byte 1: a quoted key",
		`{"a":-x}`:               "at byte 6: the number",
	} {
		var m mcp.Message
		if e := mcp.Scan([]byte(body), &m, mcp.Limits{}); e == nil || !strings.Contains(e.Message, want) {
			t.Errorf("Scan(%q): got %v, want %q", body, e, want)
		}
	}
}

// The id of a refused request is needed to answer it.
func TestScanKeepsID(t *testing.T) {
	for body, want := range map[string]string{
		`{"jsonrpc":"2.0","id":"a","method":"x","params":{"name":1,"name":2}}`: `"a"`,
		`{"jsonrpc":"2.0","method":5,"params":[],"id":42}`:                     `42`,
		`{"jsonrpc":"2.0","id":3,"method":"x","params":{`:                      `3`,
		`{"jsonrpc":"2.0","id":3,"method":"x"} x`:                              `3`,
		`{"jsonrpc":"2.0","id":3,"id":4,"method":"x"}`:                         ``,
		`{"jsonrpc":"2.0","method":"x","id":3`:                                 `3`,
	} {
		var m mcp.Message
		if e := mcp.Scan([]byte(body), &m, mcp.Limits{}); e == nil {
			t.Errorf("Scan(%s) accepts", body)
		}
		if got := string(m.ID.Of([]byte(body))); got != want {
			t.Errorf("Scan(%s): id %s, want %s", body, got, want)
		}
	}
}

func TestScanLimits(t *testing.T) {
	call := func(arguments string) string {
		return `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"x","arguments":` + arguments + `}}`
	}
	nested := func(n int) string { return call(strings.Repeat("[", n-2) + strings.Repeat("]", n-2)) }
	objects := func(n int) string { return call(strings.Repeat(`{"a":`, n-2) + "1" + strings.Repeat("}", n-2)) }
	elements := func(n int) string { return call("[" + strings.Repeat("1,", n-1) + "1]") }
	for _, c := range []struct {
		name string
		body string
		lim  mcp.Limits
		text string
	}{
		{"default depth", nested(128), mcp.Limits{}, ""},
		{"over default depth", nested(129), mcp.Limits{}, "at most 128 levels"},
		{"object depth", objects(128), mcp.Limits{}, ""},
		{"over object depth", objects(129), mcp.Limits{}, "at most 128 levels"},
		{"deepest", nested(1024), mcp.Limits{Depth: 5000}, ""},
		{"over deepest", nested(1025), mcp.Limits{Depth: 5000}, "at most 1024 levels"},
		{"no room for params", call("1"), mcp.Limits{Depth: 1}, "at most 1 levels"},
		{"very deep", nested(1 << 20), mcp.Limits{}, "at most 128 levels"},
		// Six values stand around the elements.
		{"values", elements(94), mcp.Limits{Values: 101}, ""},
		{"too many values", elements(95), mcp.Limits{Values: 101}, "at most 101 values"},
		{"too many for the message", call("1"), mcp.Limits{Values: 2}, "at most 2 values"},
		{"default values", elements(1 << 20), mcp.Limits{}, "at most 1048576 values"},
		{"bytes", call("1"), mcp.Limits{Bytes: len(call("1"))}, ""},
		{"too many bytes", call("1"), mcp.Limits{Bytes: len(call("1")) - 1}, "bytes are allowed"},
		{"default bytes", call(`"` + strings.Repeat("x", 16<<20) + `"`), mcp.Limits{}, "at most 16777216 bytes"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var m mcp.Message
			e := mcp.Scan([]byte(c.body), &m, c.lim)
			if c.text == "" {
				if e != nil {
					t.Fatal(e)
				}
				return
			}
			if e == nil || e.Code != mcp.CodeInvalidRequest || !strings.Contains(e.Message, c.text) {
				t.Fatalf("got %v, want %q", e, c.text)
			}
		})
	}
}

func TestScanNewlines(t *testing.T) {
	for body, want := range map[string]bool{
		`{"jsonrpc":"2.0","id":1,"method":"ping"}`:                      false,
		`{"jsonrpc":"2.0", "id":1,	"method":"a\nb"} `:                   false,
		"{\"jsonrpc\":\"2.0\",\n\"id\":1,\"method\":\"ping\"}":          true,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}\r":          true,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\",\"x\":[\r]}": true,
		"{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{\"x\":{\"a\"\n:1}}}": true,
	} {
		if m := scan(t, body); m.Newlines != want {
			t.Errorf("Scan(%q): newlines %v", body, m.Newlines)
		}
	}
}

// Reuse must leave nothing of the message before.
func TestScanForgets(t *testing.T) {
	var m mcp.Message
	if e := mcp.Scan([]byte(smallCall), &m, mcp.Limits{}); e != nil {
		t.Fatal(e)
	}
	if e := mcp.Scan([]byte(`{`), &m, mcp.Limits{}); e == nil {
		t.Fatal("accepted")
	}
	if d := cmp.Diff(mcp.Message{}, m); d != "" {
		t.Error(d)
	}
}

func TestScanAllocations(t *testing.T) {
	for _, bb := range benchBodies {
		var m mcp.Message
		if n := testing.AllocsPerRun(20, func() {
			if e := mcp.Scan(bb.body, &m, mcp.Limits{}); e != nil {
				t.Fatal(e)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", bb.name, n)
		}
	}
	for _, body := range goodMessages {
		var m mcp.Message
		if n := testing.AllocsPerRun(20, func() { _ = mcp.Scan([]byte(body), &m, mcp.Limits{}) }); n > 3 { // one is the conversion
			t.Errorf("%.100s: %v allocations", body, n)
		}
	}
}

// The keys of a large object are looked at once more, not with each other.
func TestScanManyKeysIsLinear(t *testing.T) {
	var b bytes.Buffer
	b.WriteString(`{"jsonrpc":"2.0","id":1,"result":{`)
	for i := range 200_000 {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	good := append(bytes.Clone(b.Bytes()), `"last":0}}`...)
	scan(t, string(good))
	var m mcp.Message
	if e := mcp.Scan(append(b.Bytes(), `"k7":0}}`...), &m, mcp.Limits{}); e == nil || !strings.Contains(e.Message, "duplicate key") {
		t.Error(e)
	}
	if n := testing.AllocsPerRun(2, func() { _ = mcp.Scan(good, &m, mcp.Limits{}) }); n > 2 {
		t.Errorf("%v allocations", n)
	}
}
