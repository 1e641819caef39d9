package mcp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/mcp"
)

func TestSplit(t *testing.T) {
	for body, want := range map[string][]string{
		`[{"a":1}]`:              {`{"a":1}`},
		" [ 1 , [2,3],\n{} ] ":   {"1", "[2,3]", "{}"},
		`["]",{"x":"[,"}, null]`: {`"]"`, `{"x":"[,"}`, "null"},
	} {
		spans, e := mcp.Split([]byte(body), mcp.Limits{})
		if e != nil {
			t.Errorf("Split(%s): %v", body, e)
		}
		var got []string
		for _, s := range spans {
			got = append(got, string(s.Of([]byte(body))))
		}
		if d := cmp.Diff(want, got); d != "" {
			t.Errorf("Split(%s): %s", body, d)
		}
	}
	batch := func(n int) string { return "[" + strings.Repeat("1,", n-1) + "1]" }
	for body, want := range map[string]int64{
		"[]": mcp.CodeInvalidRequest, " [ ] ": mcp.CodeInvalidRequest, batch(mcp.MaxBatch + 1): mcp.CodeInvalidRequest,
		"{}": mcp.CodeParse, "": mcp.CodeParse, "[1": mcp.CodeParse, "[1,]": mcp.CodeParse, "[1]]": mcp.CodeParse, "[": mcp.CodeParse,
		strings.Repeat("[", 200): mcp.CodeInvalidRequest,
	} {
		if spans, e := mcp.Split([]byte(body), mcp.Limits{}); e == nil || e.Code != want || spans != nil {
			t.Errorf("Split(%.50s): got %v, %v, want %d", body, spans, e, want)
		}
	}
	if spans, e := mcp.Split([]byte(batch(mcp.MaxBatch)), mcp.Limits{}); e != nil || len(spans) != mcp.MaxBatch {
		t.Errorf("full batch: %d, %v", len(spans), e)
	}
}

func TestLookup(t *testing.T) {
	body := []byte(`{"a":1,"b":{"a":2,"":3},"\u0063":4,"\ud800":5,"K":6,"grüße":7}`)
	object := wholeSpan(body)
	for key, want := range map[string]string{"a": "1", "b": `{"a":2,"":3}`, "c": "4", "K": "6", "grüße": "7", "x": "", "aa": "", "": ""} {
		f, e := mcp.Lookup(body, object, key)
		if e != nil || string(f.Of(body)) != want {
			t.Errorf("Lookup(%s): %s, %v", key, f.Of(body), e)
		}
	}
	for _, key := range []string{"A", "B", "k", kelvin, "GRÜSSE", "GRÜßE", "C"} {
		f, e := mcp.Lookup(body, object, key)
		if folds := slices.ContainsFunc([]string{"a", "b", "c", "K", "grüße"}, func(s string) bool { return s != key && strings.EqualFold(s, key) }); folds != (e != nil) {
			t.Errorf("Lookup(%s): %v, %v", key, f, e)
		}
	}
	for _, twice := range []string{`{"a":1,"a":2}`, `{"a":1,"\u0061":2}`, `{"a":1,"A":2}`, `{"A":1}`} {
		if f, e := mcp.Lookup([]byte(twice), wholeSpan([]byte(twice)), "a"); e == nil {
			t.Errorf("Lookup in %s: %v", twice, f)
		}
	}
	for _, other := range []string{`[1]`, `"a"`, `{`, `{"a"`, `{"a":`} {
		if f, e := mcp.Lookup([]byte(other), wholeSpan([]byte(other)), "a"); e != nil || f.Present() {
			t.Errorf("Lookup in %s: %v, %v", other, f, e)
		}
	}
	if n := testing.AllocsPerRun(20, func() { _, _ = mcp.Lookup(body, object, "K") }); n > 1 { // the escaped key
		t.Errorf("%v allocations", n)
	}
}

func TestElementsAndMembersStop(t *testing.T) {
	body := []byte(`[[1,2,3],{"a":1,"b":2}]`)
	for _, s := range []mcp.Span{{Start: 1, End: 8}, {Start: 9, End: 22}} {
		n := 0
		mcp.Elements(body, s, func(mcp.Span) bool { n++; return false })
		mcp.Members(body, s, func(mcp.Field) bool { n++; return false })
		if n != 1 {
			t.Errorf("%s: %d calls", s.Of(body), n)
		}
	}
	for _, s := range []mcp.Span{{}, {Start: 0, End: 100}, {Start: -1, End: 3}, {Start: 5, End: 2}, {Start: 2, End: 4}} {
		mcp.Elements(body, s, func(mcp.Span) bool { t.Errorf("element of %v", s); return true })
		mcp.Members(body, s, func(mcp.Field) bool { t.Errorf("member of %v", s); return true })
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		`""`: "", `"plain"`: "plain", `"a\u0062c"`: "abc", `"\"\\\/\b\f\n\r\t"`: "\"\\/\b\f\n\r\t",
		`"\ud83d\ude00!"`: "😀!", `"\u00e9\u20ac"`: "é€", `"\u0000"`: "\x00", `"\uFEFF"`: "\ufeff", `"\ufffd"`: "\ufffd",
	} {
		body := []byte(" " + in)
		got, ok := mcp.Text(body, wholeSpan(body), make([]byte, 0, 2))
		if !ok || string(got) != want {
			t.Errorf("Text(%s) = %q, %v", in, got, ok)
		}
	}
	for _, in := range []string{`"\ud800"`, `"\udc00"`, `"\ud800\u0041"`, `"\ud800\ud800\udc00"`, `"\ud800x"`, `"\udc00\ud800"`, `5`, `null`, `[]`, `"`, ``} {
		if got, ok := mcp.Text([]byte(in), mcp.Span{End: int32(len(in))}, nil); ok {
			t.Errorf("Text(%s) = %q", in, got)
		}
	}
	body := []byte(`"plain"`)
	if got, _ := mcp.Text(body, wholeSpan(body), nil); &got[0] != &body[1] {
		t.Error("text without escapes is copied")
	}
}

func TestAppendString(t *testing.T) {
	for _, s := range []string{"", "plain", "\"\\/\b\f\n\r\t\x00\x1f\x7f", "é\u00a0\u2028😀\ufeff", "<>&"} {
		raw := mcp.AppendString([]byte("x"), s)[1:]
		var back string
		if err := json.Unmarshal(raw, &back); err != nil || back != s {
			t.Errorf("AppendString(%q) = %s: %q, %v", s, raw, back, err)
		}
	}
	if got := string(mcp.AppendString(nil, "a\xff\xc3b\u00a0")); got != "\"a\ufffd\ufffdb\u00a0\"" {
		t.Errorf("%q", got)
	}
}

func TestInteger(t *testing.T) {
	var numbers []string
	for _, m := range []string{"0", "1", "10", "42", "100", "9007199254740991", "9007199254740992", "9007199254740993", "90071992547409910", "12345678901234567890", "1000000000000000000000"} {
		for _, fraction := range []string{"", ".0", ".5", ".50", ".000", ".123456789012345678901234567890", ".10"} {
			for _, exponent := range []string{"", "e0", "E+1", "e-1", "e2", "e-2", "e-16", "e20", "e-21", "e400", "e-400"} {
				numbers = append(numbers, m+fraction+exponent, "-"+m+fraction+exponent)
			}
		}
	}
	most := big.NewRat(mcp.MaxInteger, 1)
	for _, n := range numbers {
		r, ok := new(big.Rat).SetString(n)
		if !ok {
			t.Fatal(n)
		}
		fits := r.IsInt() && new(big.Rat).Abs(r).Cmp(most) <= 0
		got, ok := mcp.Integer([]byte(n), mcp.Span{End: int32(len(n))})
		if ok != fits || ok && r.Cmp(big.NewRat(got, 1)) != 0 {
			t.Errorf("Integer(%s) = %d, %v, want %v", n, got, ok, r)
		}
	}
	for _, n := range []string{"", "-", "x", `"1"`, "1x", "null", "01", "1.", "1e", "1e99999999999999999999", "1e-99999999999999999999", "0." + strings.Repeat("0", 1000) + "1"} {
		if got, ok := mcp.Integer([]byte(n), mcp.Span{End: int32(len(n))}); ok {
			t.Errorf("Integer(%s) = %d", n, got)
		}
	}
	if got, ok := mcp.Integer([]byte("0e99999999999999999999"), mcp.Span{End: 22}); got != 0 || !ok {
		t.Error(got, ok)
	}
	if got, ok := mcp.Integer([]byte(" 5"), mcp.Span{}); ok {
		t.Error(got)
	}
}

func TestAppendErrorAndResult(t *testing.T) {
	e := &mcp.Error{Code: mcp.CodeUnsupportedVersion, Message: "no \"such\"\nversion", Data: []byte(`{"supported":[]}`)}
	for _, c := range []struct{ got, want string }{
		{string(mcp.AppendError([]byte("x"), []byte(`"a"`), e)), `x{"jsonrpc":"2.0","id":"a","error":{"code":-32022,"message":"no \"such\"\nversion","data":{"supported":[]}}}`},
		{string(mcp.AppendError(nil, nil, &mcp.Error{Code: 1})), `{"jsonrpc":"2.0","id":null,"error":{"code":1,"message":""}}`},
		{string(mcp.AppendResult([]byte("x"), []byte("7"), []byte("{}"))), `x{"jsonrpc":"2.0","id":7,"result":{}}`},
	} {
		if c.got != c.want {
			t.Errorf("got %s, want %s", c.got, c.want)
		}
		scan(t, strings.TrimPrefix(c.got, "x"))
	}
	if e.Error() != "no \"such\"\nversion (-32022)" {
		t.Error(e.Error())
	}
}

func TestHTTPStatus(t *testing.T) {
	for code, want := range map[int64]int{
		mcp.CodeMethodNotFound: 404, mcp.CodeParse: 400, mcp.CodeInvalidRequest: 400, mcp.CodeInvalidParams: 400,
		mcp.CodeHeaderMismatch: 400, mcp.CodeMissingCapability: 400, mcp.CodeUnsupportedVersion: 400,
		mcp.CodeInternal: 200, mcp.CodeResourceNotFound: 200, mcp.CodeURLElicitation: 200, 0: 200, 429: 200,
	} {
		if got := mcp.HTTPStatus(code); got != want {
			t.Errorf("HTTPStatus(%d) = %d, want %d", code, got, want)
		}
	}
}

func TestMethods(t *testing.T) {
	seen := map[string]bool{}
	for m := mcp.Method(1); m < mcp.Methods; m++ {
		name, f := m.String(), m.Facts()
		if name == "" || seen[name] || mcp.MethodOf(name) != m {
			t.Errorf("%d: name %q", m, name)
		}
		seen[name] = true
		if !f.Modern && !f.Legacy || !f.FromClient && !f.FromServer {
			t.Errorf("%s: %+v", name, f)
		}
		if f.Notification != strings.HasPrefix(name, "notifications/") {
			t.Errorf("%s: notification %v", name, f.Notification)
		}
		if f.List != (f.ListKey != mcp.KeyNone) {
			t.Errorf("%s: %+v", name, f)
		}
	}
	for _, name := range []string{"", "tools/calL", "tools", "tools/call/", strings.Repeat("x", 100), "tool" + longS + "/call"} {
		if m := mcp.MethodOf(name); m != mcp.MethodUnknown {
			t.Errorf("MethodOf(%q) = %v", name, m)
		}
	}
	if mcp.MethodUnknown.Facts() != (mcp.Facts{}) || mcp.MethodUnknown.String() != "" || mcp.Method(250).String() != "" || mcp.Method(250).Facts() != (mcp.Facts{}) {
		t.Error("facts about no method")
	}
	named := map[mcp.Method]mcp.Key{}
	var cached, modernRequests []string
	for m := mcp.Method(1); m < mcp.Methods; m++ {
		f := m.Facts()
		if f.NameKey != mcp.KeyNone {
			named[m] = f.NameKey
		}
		if f.Cacheable {
			cached = append(cached, m.String())
		}
		if f.Modern && f.FromClient && !f.Notification && !strings.HasPrefix(m.String(), "tasks/") {
			modernRequests = append(modernRequests, m.String())
		}
	}
	if d := cmp.Diff(map[mcp.Method]mcp.Key{
		mcp.MethodToolsCall: mcp.KeyName, mcp.MethodPromptsGet: mcp.KeyName, mcp.MethodResourcesRead: mcp.KeyURI,
		mcp.MethodTasksGet: mcp.KeyTaskID, mcp.MethodTasksUpdate: mcp.KeyTaskID, mcp.MethodTasksCancel: mcp.KeyTaskID,
	}, named); d != "" {
		t.Error(d)
	}
	// The lists of 2026-07-28: server/utilities/caching and schema.ts.
	if d := cmp.Diff([]string{"server/discover", "tools/list", "prompts/list", "resources/list", "resources/templates/list", "resources/read"}, cached); d != "" {
		t.Error(d)
	}
	slices.Sort(modernRequests)
	if d := cmp.Diff([]string{
		"completion/complete", "prompts/get", "prompts/list", "resources/list", "resources/read", "resources/templates/list",
		"server/discover", "subscriptions/listen", "tools/call", "tools/list",
	}, modernRequests); d != "" {
		t.Error(d)
	}
	if n := testing.AllocsPerRun(10, func() { mcp.MethodOf("notifications/subscriptions/acknowledged") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestKeys(t *testing.T) {
	for k := mcp.Key(1); k < mcp.NumKeys; k++ {
		if k.String() == "" || k.Where() == 0 {
			t.Errorf("key %d: %q, %b", k, k, k.Where())
		}
	}
	for k := mcp.MetaKey(1); k < mcp.NumMeta; k++ {
		if k.String() == "" {
			t.Errorf("meta key %d has no name", k)
		}
	}
	if mcp.KeyNone.String() != "" || mcp.Key(200).String() != "" || mcp.MetaNone.String() != "" || mcp.MetaKey(200).String() != "" {
		t.Error("names of no key")
	}
}

func TestVersions(t *testing.T) {
	all := mcp.AllVersions()
	if !slices.IsSortedFunc(all, func(a, b string) int { return strings.Compare(b, a) }) || all[0] != mcp.VersionModern {
		t.Error(all)
	}
	if all[1] != mcp.LatestLegacy {
		t.Errorf("latest legacy version %s, want %s", mcp.LatestLegacy, all[1])
	}
	for _, v := range all {
		if !mcp.Known(v) || mcp.IsModern(v) != (v == "2026-07-28") || mcp.Batches(v) != (v == "2025-03-26") {
			t.Errorf("%s: known %v, modern %v, batches %v", v, mcp.Known(v), mcp.IsModern(v), mcp.Batches(v))
		}
	}
	for v, want := range map[string]bool{"2027-01-01": true, "2026-07-29": true, "2026-07-27": false, "": false, "draft": false, "zzzz-zz-zz": false, "2026-07-28x": false, "2026/07/28": false} {
		if mcp.IsModern(v) != want || mcp.Known(v) {
			t.Errorf("IsModern(%q) = %v", v, !want)
		}
	}
}

func TestBuffers(t *testing.T) {
	for _, size := range []int{-1, 0, 1, 4096, 4097, 16 << 10, 64<<10 + 1, 1 << 20, 4 << 20, 4<<20 + 1, 20 << 20} {
		b := mcp.GetBuffer(size)
		if len(b.B) != 0 || cap(b.B) < size {
			t.Errorf("GetBuffer(%d): length %d, capacity %d", size, len(b.B), cap(b.B))
		}
		b.B = append(b.B, "used"...)
		b.Free()
	}
	for range 100 { // grown, shrunk and foreign buffers are sorted in where they fit
		b := mcp.GetBuffer(100)
		b.B = append(b.B, make([]byte, 70_000)...)
		b.Free()
		c := &mcp.Buffer{B: make([]byte, 10, 5000)}
		c.Free()
		d := &mcp.Buffer{}
		d.Free()
		for _, size := range []int{10, 5000, 60_000, 70_000} {
			if b := mcp.GetBuffer(size); len(b.B) != 0 || cap(b.B) < size {
				t.Fatalf("GetBuffer(%d): length %d, capacity %d", size, len(b.B), cap(b.B))
			}
		}
	}
	var none *mcp.Buffer
	none.Free()
}

func TestRaw(t *testing.T) {
	b := mcp.GetBuffer(1000)
	b.B = append(b.B, smallCall...)
	var r mcp.Raw
	r.Own(b)
	if e := r.Scan(mcp.Limits{}); e != nil {
		t.Fatal(e)
	}
	r.Edits.Replace(r.ID, []byte("8"))
	want := strings.Replace(smallCall, `"id":7`, `"id":8`, 1)
	if got := string(r.Append(nil)); got != want || r.Len() != len(want) || string(bytes.Join(r.Segments(nil), nil)) != want {
		t.Error(got)
	}
	if e := r.Scan(mcp.Limits{}); e != nil || !r.Edits.Empty() {
		t.Error("edits outlive a scan", e)
	}
	r.Edits.Replace(r.ID, []byte("8"))
	r.Free()
	if r.Body != nil || r.Kind != mcp.KindInvalid || !r.Edits.Empty() {
		t.Errorf("%+v", r)
	}
	r.Free()
	r.Own(mcp.GetBuffer(1))
	r.Own(mcp.GetBuffer(1))
	r.Reset()
	if r.Body != nil {
		t.Error("not reset")
	}
}

func TestKindString(t *testing.T) {
	got := fmt.Sprint(mcp.KindInvalid, mcp.KindRequest, mcp.KindNotification, mcp.KindResult, mcp.KindError, mcp.KindBatch, mcp.Kind(99))
	if got != "invalid message request notification result error batch invalid message" {
		t.Error(got)
	}
}
