package gateway

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

func TestWholes(t *testing.T) {
	for uri, want := range map[string][]string{
		"file:///a/b":   {"file:///a/b", "file:///a/", "file:///a", "file:///", "file://", "file://", "file:/", "file:/", "file:"},
		"mem:a":         {"mem:a"},
		"x://a?q=1#top": {"x://a?q=1#top", "x://a?q=1", "x://a", "x://", "x:/", "x:/", "x:"},
		"x:a/":          {"x:a/", "x:a"},
		"":              {""},
	} {
		if diff := cmp.Diff(want, slices.Collect(wholes(uri))); diff != "" {
			t.Errorf("%q (-want +got):\n%s", uri, diff)
		}
	}
	if n := len(slices.Collect(wholes(strings.Repeat("/", 1<<16)))); n > 2*cutsMost+1 {
		t.Errorf("a URI is looked for in %d wholes", n)
	}
}

func note(t *testing.T, body string) *mcp.Raw {
	t.Helper()
	n := &mcp.Raw{Body: []byte(body)}
	if e := n.Scan(mcp.Limits{}); e != nil {
		t.Fatal(e)
	}
	return n
}

// TestNotice: only the subscription's id is put in or taken out; all else passes as it is.
func TestNotice(t *testing.T) {
	const id = `"io.modelcontextprotocol/subscriptionId":`
	for _, row := range [][3]string{
		{`{"jsonrpc":"2.0","method":"m"}`, `{"params":{"_meta":{` + id + `7}},"jsonrpc":"2.0","method":"m"}`, `{"jsonrpc":"2.0","method":"m"}`},
		{`{"method":"m","params":{"uri":"a","n":1.0}}`, `{"method":"m","params":{"_meta":{` + id + `7},"uri":"a","n":1.0}}`, `{"method":"m","params":{"uri":"a","n":1.0}}`},
		{
			`{"method":"m","params":{"_meta":{"k":1e2},"uri":"a"}}`, `{"method":"m","params":{"_meta":{` + id + `7,"k":1e2},"uri":"a"}}`,
			`{"method":"m","params":{"_meta":{"k":1e2},"uri":"a"}}`,
		},
		{
			`{"method":"m","params":{"_meta":{"k":1,` + id + `"theirs"},"uri":"a"}}`, `{"method":"m","params":{"_meta":{"k":1,` + id + `7},"uri":"a"}}`,
			`{"method":"m","params":{"_meta":{"k":1},"uri":"a"}}`,
		},
	} {
		body := row[0]
		if !strings.Contains(body, "jsonrpc") {
			for i := range row {
				row[i] = `{"jsonrpc":"2.0",` + row[i][1:]
			}
			body = row[0]
		}
		n := newNotice(note(t, body))
		for i, got := range []string{string(n.append(nil, []byte("7"))), string(n.append(nil, nil))} {
			if want := "event: message\ndata: " + row[i+1] + "\n\n"; got != want {
				t.Errorf("%s became\n%s not\n%s", body, got, want)
			}
		}
	}
}

// TestPending: what is due is held once for each list and resource, and no more than the bound of resources.
func TestPending(t *testing.T) {
	w := &Watch{lists: upstream.ListTools | upstream.ListPrompts, most: v1.Streams{Subscriptions: 3}, ready: make(chan struct{}, 1)}
	w.Granted(Wish{})
	for range 5 {
		w.tellLists(upstream.AllLists, true)
		w.tell("a", "a", updatedNotice("a"))
	}
	for i := range 10 {
		part := "a/" + strings.Repeat("x", i+1)
		w.tell(part, "a", updatedNotice(part))
	}
	<-w.Ready()
	got := string(w.Append(nil, []byte(`"s"`)))
	if n := strings.Count(got, "list_changed"); n != 2 || strings.Contains(got, "resources/list_changed") {
		t.Errorf("%d list changes:\n%s", n, got)
	}
	if n := strings.Count(got, "resources/updated"); n != 3 || strings.Count(got, `"uri":"a"`) != 1 {
		t.Errorf("%d updates:\n%s", n, got)
	}
	if rest := w.Append(nil, nil); len(rest) != 0 {
		t.Errorf("told twice: %s", rest)
	}
}
