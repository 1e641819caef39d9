package mcp_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/mcp"
)

// apply returns what the edits make of body, by all ways there are.
func apply(t *testing.T, e *mcp.Edits, body []byte) string {
	t.Helper()
	out := e.Append([]byte("x"), body)[1:]
	if joined := bytes.Join(e.Segments(nil, body), nil); !bytes.Equal(joined, out) {
		t.Fatalf("segments make %q, append makes %q", joined, out)
	}
	if n := e.Len(body); n != len(out) {
		t.Fatalf("Len %d, length %d of %q", n, len(out), out)
	}
	return string(out)
}

func wholeSpan(body []byte) mcp.Span {
	start := len(body) - len(bytes.TrimLeft(body, " \t\r\n"))
	return mcp.Span{Start: int32(start), End: int32(len(bytes.TrimRight(body, " \t\r\n")))}
}

func fieldsOf(body []byte, object mcp.Span) []mcp.Field {
	var all []mcp.Field
	mcp.Members(body, object, func(f mcp.Field) bool {
		all = append(all, f)
		return true
	})
	return all
}

// Every subset of removed members, with and without insertions and
// replacements, in several orders of the calls.
func TestEditsEverySubset(t *testing.T) {
	for _, layout := range []struct{ open, sep, colon, end string }{
		{"{", ",", ":", "}"}, {"{ ", " , ", " : ", " }"}, {"{\n\t", ",\n\t", ": ", "\n}"},
	} {
		for n := range 5 {
			var members []string
			for i := range n {
				members = append(members, fmt.Sprintf(`"k%d"%s[%d, {"a":1}]`, i, layout.colon, i))
			}
			object := layout.open + strings.Join(members, layout.sep) + layout.end
			for mask := range 1 << n {
				for inserts := range 3 {
					for order := range 3 {
						subset(t, object, n, mask, inserts, order)
					}
				}
			}
		}
	}
}

// subset removes the members in mask, replaces the values of half of the
// others and inserts some.
func subset(t *testing.T, object string, n, mask, inserts, order int) {
	t.Helper()
	body := []byte(`[` + object + `, 1]`)
	span := mcp.Span{Start: 1, End: int32(len(object) + 1)}
	fields := fieldsOf(body, span)
	if len(fields) != n {
		t.Fatalf("%d members of %s", len(fields), object)
	}
	var e mcp.Edits
	insert := func() {
		for i := range inserts {
			e.Insert(body, span, fmt.Appendf(nil, `"new%d":0`, i))
		}
	}
	if order == 0 {
		insert()
	}
	want := []string{}
	for i := range inserts {
		want = append(want, fmt.Sprintf(`"new%d":0`, i))
	}
	var gone []mcp.Field
	for i, f := range fields {
		switch {
		case mask>>i&1 != 0:
			gone = append(gone, f)
		case i%2 == 0:
			e.Replace(f.Span, []byte("null"))
			want = append(want, fmt.Sprintf(`"k%d":null`, i))
		default:
			want = append(want, fmt.Sprintf(`"k%d":[%d,{"a":1}]`, i, i))
		}
	}
	if order == 1 {
		for i := range gone {
			e.Remove(body, gone[len(gone)-1-i])
		}
	} else {
		e.Remove(body, append(gone, mcp.Field{})...)
	}
	if order > 0 {
		insert()
	}
	got := apply(t, &e, body)
	if wanted := "[{" + strings.Join(want, ",") + "},1]"; compact(t, got) != wanted {
		t.Fatalf("%s without %b and %d inserted, order %d: got %s, want %s", object, mask, inserts, order, got, wanted)
	}
}

func compact(t *testing.T, s string) string {
	t.Helper()
	var b bytes.Buffer
	if err := json.Compact(&b, []byte(s)); err != nil {
		t.Fatalf("%s: %v", s, err)
	}
	return b.String()
}

func TestEditsOuterWins(t *testing.T) {
	body := []byte(`{"a":{"b":[1,2],"c":3},"d":4}`)
	object := wholeSpan(body)
	top := fieldsOf(body, object)
	inner := fieldsOf(body, top[0].Span)
	steps := map[string]func(*mcp.Edits){
		"replace inner":  func(e *mcp.Edits) { e.Replace(inner[0].Span, []byte("0")) },
		"remove inner":   func(e *mcp.Edits) { e.Remove(body, inner...) },
		"insert inner":   func(e *mcp.Edits) { e.Insert(body, top[0].Span, []byte(`"n":1`)) },
		"replace middle": func(e *mcp.Edits) { e.Replace(top[0].Span, []byte("5")) },
	}
	for name, step := range steps {
		for _, first := range []bool{true, false} {
			var e mcp.Edits
			if first {
				step(&e)
			}
			e.Remove(body, top[0])
			if !first {
				step(&e)
			}
			if got := apply(t, &e, body); got != `{"d":4}` {
				t.Errorf("%s, first %v: %s", name, first, got)
			}
			e.Replace(object, []byte("[]"))
			step(&e)
			if got := apply(t, &e, body); got != `[]` {
				t.Errorf("%s within a replaced object: %s", name, got)
			}
		}
	}
	var e mcp.Edits
	e.Replace(top[1].Span, []byte("5"))
	e.Replace(top[1].Span, []byte("6"))
	e.Replace(mcp.Span{}, []byte("7"))
	if got := apply(t, &e, body); got != `{"a":{"b":[1,2],"c":3},"d":6}` {
		t.Errorf("replaced twice: %s", got)
	}
}

func TestEditsNothing(t *testing.T) {
	body := []byte(smallCall)
	var e mcp.Edits
	e.Insert(body, mcp.Span{}, []byte(`"a":1`))
	e.Insert(body, wholeSpan(body), nil)
	e.Insert(body, mcp.Span{Start: 1, End: 10}, []byte(`"a":1`)) // not an object
	e.Remove(body, mcp.Field{})
	if !e.Empty() || apply(t, &e, body) != smallCall {
		t.Error("something changed")
	}
	e.Replace(mcp.Span{Start: 1, End: 2}, nil)
	if e.Empty() {
		t.Error("empty")
	}
	e.Reset()
	if !e.Empty() || apply(t, &e, body) != smallCall {
		t.Error("not reset")
	}
}

func TestEditsMany(t *testing.T) {
	body := toolList(64 << 10)
	var m mcp.Message
	if err := mcp.Scan(body, &m, mcp.Limits{}); err != nil {
		t.Fatal(err)
	}
	for _, backwards := range []bool{false, true} {
		var names []mcp.Span
		mcp.Elements(body, m.Get(mcp.KeyTools), func(tool mcp.Span) bool {
			f, err := mcp.Lookup(body, tool, "name")
			if err != nil {
				t.Fatal(err)
			}
			names = append(names, f.Span)
			return true
		})
		var e mcp.Edits
		for i := range names {
			if backwards {
				i = len(names) - 1 - i
			}
			e.Replace(names[i], []byte(`"crm__x"`))
		}
		want := bytes.Clone(body)
		for _, name := range slices.Backward(names) {
			want = slices.Replace(want, int(name.Start), int(name.End), []byte(`"crm__x"`)...)
		}
		if got := apply(t, &e, body); got != string(want) {
			t.Error("wrong splices")
		}
		e.Reset()
		if !e.Empty() || apply(t, &e, body) != string(body) {
			t.Error("not reset")
		}
	}
}

func TestEditsDoNotAllocate(t *testing.T) {
	body := []byte(smallCall)
	m := scan(t, smallCall)
	id, name, members := []byte("12345"), []byte(`"find"`), []byte(`"traceparent":"00"`)
	dst := make([]byte, 0, 2*len(body))
	segments := make([][]byte, 0, 32)
	if n := testing.AllocsPerRun(50, func() {
		var e mcp.Edits
		e.Replace(m.ID, id)
		e.Replace(m.Get(mcp.KeyName), name)
		e.Remove(body, m.Meta[mcp.MetaProtocolVersion], m.Meta[mcp.MetaClientInfo])
		e.Insert(body, m.Get(mcp.KeyMeta), members)
		dst = e.Append(dst[:0], body)
		segments = e.Segments(segments[:0], body)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// FuzzEdits applies edits that its second argument chooses to any place of any
// JSON text and compares with the same changes made to a tree.
func FuzzEdits(f *testing.F) {
	for i, body := range goodMessages {
		f.Add([]byte(body), []byte{byte(i), 1, 2, byte(3 * i), 5, 8, 13, 21, byte(i * i), 0, 1, 0})
	}
	f.Add([]byte(`{"a":1,"b":[{"c":{}}],"d":{"e":2}}`), []byte{0, 0, 1, 1, 2, 2, 1, 3, 1, 4, 1, 5})
	f.Fuzz(func(t *testing.T, body, ops []byte) {
		if len(body) == 0 || len(body) > 4096 || len(ops) > 64 || !validJSON(body) {
			return
		}
		root := &node{span: wholeSpan(body)}
		var all []*node
		grow(body, root, &all)
		if len(all) > 512 {
			return
		}
		var e mcp.Edits
		for i := 0; i+1 < len(ops); i += 2 {
			change(&e, body, all[int(ops[i+1])%len(all)], ops[i], i)
		}
		got := apply(t, &e, body)
		if want := render(body, root); compact(t, got) != compact(t, want) {
			t.Fatalf("edits %v of %s: got %s, want %s", ops, body, got, want)
		}
	})
}

// node is a value of the tree that FuzzEdits changes beside the edits.
type node struct {
	span     mcp.Span
	field    mcp.Field // when it is a member
	children []*node
	removed  bool
	replaced string
	inserted []string
}

func grow(body []byte, n *node, all *[]*node) {
	*all = append(*all, n)
	switch body[n.span.Start] {
	case '{':
		for _, m := range naiveMembers(body, n.span) {
			n.children = append(n.children, &node{span: m.field.Span, field: m.field})
		}
	case '[':
		mcp.Elements(body, n.span, func(s mcp.Span) bool {
			n.children = append(n.children, &node{span: s})
			return true
		})
	}
	for _, c := range n.children {
		grow(body, c, all)
	}
}

func change(e *mcp.Edits, body []byte, n *node, op byte, i int) {
	switch op % 3 {
	case 0:
		n.replaced = fmt.Sprintf(`{"r":%d}`, i)
		e.Replace(n.span, []byte(n.replaced))
	case 1:
		n.removed = n.removed || n.field.Present()
		e.Remove(body, n.field)
	case 2:
		if body[n.span.Start] == '{' {
			n.inserted = append(n.inserted, fmt.Sprintf(`"i%d":[]`, i))
		}
		e.Insert(body, n.span, fmt.Appendf(nil, `"i%d":[]`, i))
	}
}

func render(body []byte, n *node) string {
	open := body[n.span.Start]
	if n.replaced != "" {
		return n.replaced
	}
	if open != '{' && open != '[' {
		return string(n.span.Of(body))
	}
	parts := n.inserted
	for _, c := range n.children {
		switch {
		case c.removed:
		case c.field.Present():
			parts = append(parts, string(c.field.Name(body))+":"+render(body, c))
		default:
			parts = append(parts, render(body, c))
		}
	}
	return string(open) + strings.Join(parts, ",") + string(open+2)
}
