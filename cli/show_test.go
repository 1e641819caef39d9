package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/mcp"
)

func TestWriteResult(t *testing.T) {
	tests := []struct {
		name   string
		result string
		want   string
		err    string
	}{
		{"text", `{"content":[{"type":"text","text":"a\u001b"},{"type":"text","text":"b\n"}]}`, "a\u001b\nb\n", ""},
		{"structured alone", `{"content":[],"structuredContent": [1.0, 9007199254740993] }`, "[1.0, 9007199254740993]\n", ""},
		{"image", `{"content":[{"type":"image","data":"AAAA","mimeType":"image/png"}]}`, "[image image/png, 3 bytes]\n", ""},
		{"padded", `{"content":[{"type":"audio","data":"AA==","mimeType":"audio/wav"}]}`, "[audio audio/wav, 1 bytes]\n", ""},
		{"link", `{"content":[{"type":"resource_link","name":"n","uri":"file:///n"}]}`, "[resource n: file:///n]\n", ""},
		{"resource", `{"content":[{"type":"resource","resource":{"uri":"a:b","text":"T"}}]}`, "T\n", ""},
		{"blob", `{"content":[{"type":"resource","resource":{"uri":"a:b","mimeType":"m/n","blob":"AAA="}}]}`, "[resource a:b m/n, 2 bytes]\n", ""},
		{"unknown", `{"content":[{"type":"hologram"}]}`, "[content of type \"hologram\"; --output json shows it]\n", ""},
		{"nothing", `{"content":[],"resultType":"complete"}`, "", ""},
		{"error", `{"content":[{"type":"text","text":"no\u001b[2J file"}],"isError":true}`, "", "the tool reported an error: no\ufffd[2J file"},
		{"error without words", `{"content":[],"isError":true}`, "", "the tool reported an error"},
		{"question", `{"resultType":"input_required","inputRequests":{}}`, "", "asks a question"},
		{"unknown type", `{"resultType":"tas\u001bk"}`, "", `"tas` + "\ufffd" + `k"`},
		{"odd shape", `{"content":5}`, "", "unexpected shape"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var out bytes.Buffer
			err := writeResult(&system{stdout: &out}, []byte(tt.result))
			if out.String() != tt.want {
				t.Errorf("got %q, want %q", out.String(), tt.want)
			}
			checkFailure(t, err, tt.err)
		})
	}
}

// checkFailure wants no error, or one that contains want and exits with ExitFailed.
func checkFailure(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var e *exitError
	if !errors.As(err, &e) || e.code != ExitFailed || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %q", err, want)
	}
}

func TestWriteJSONOutput(t *testing.T) {
	const result = `{ "content":[],"x":9007199254740993,"isError":true }`
	var out bytes.Buffer
	checkFailure(t, writeCallJSON(&system{stdout: &out}, []byte(result), nil), "the tool reported an error")
	if out.String() != result+"\n" {
		t.Errorf("got %s", out.String())
	}
	out.Reset()
	answer := &mcp.Error{Code: -32602, Message: `no "x"`, Data: []byte(`{"a": 1.0}`)}
	if err := writeCallJSON(&system{stdout: &out}, nil, answer); !errors.Is(err, answer) {
		t.Errorf("got %v", err)
	}
	if want := `{"error":{"code":-32602,"message":"no \"x\"","data":{"a": 1.0}}}` + "\n"; out.String() != want {
		t.Errorf("got %s", out.String())
	}
}

func TestProgress(t *testing.T) {
	messages := []string{
		`{"method":"notifications/progress","params":{"progress":1,"total":4,"message":"reading\nfiles"}}`,
		`{"method":"notifications/progress","params":{"progress":2.50}}`,
		`{"method":"notifications/message","params":{"level":"info","data":"half\u0007 way"}}`,
		`{"method":"notifications/message","params":{"level":"debug","data":{"n":1.0}}}`,
		`{"method":"notifications/progress","params":{"progress":0.000001,"message":"waiting"}}`,
		`{"method":"notifications/tools/list_changed"}`,
		`{"method":"notifications/progress","params":{"progress":"x"}}`,
		`not JSON`,
		`{"method":"notifications/progress","params":{"progress":4,"total":4}}`,
	}
	var plainOut, terminal bytes.Buffer
	for _, p := range []*progress{{w: &plainOut}, {w: &terminal, terminal: true}} {
		for _, m := range messages {
			p.notify([]byte(m))
		}
		p.done()
		p.done()
	}
	const bell = "info: half\ufffd way\n"
	want := "1/4 reading files\n2.50\n" + bell + "debug: {\"n\":1.0}\nwaiting\n4/4\n"
	if d := cmp.Diff(want, plainOut.String()); d != "" {
		t.Error(d)
	}
	want = "\r\x1b[?7l1/4 reading files\x1b[K\x1b[?7h\r\x1b[?7l2.50\x1b[K\x1b[?7h\r\x1b[K" + bell +
		"debug: {\"n\":1.0}\n\r\x1b[?7lwaiting\x1b[K\x1b[?7h\r\x1b[?7l4/4\x1b[K\x1b[?7h\r\x1b[K"
	if d := cmp.Diff(want, terminal.String()); d != "" {
		t.Error(d)
	}
}

func TestTools(t *testing.T) {
	tools := []json.RawMessage{
		json.RawMessage(`{"name":"find","x":1.0,"description":"Finds\u0007 things.\nMore.",` +
			`"inputSchema":{"type":"object","properties":{"q":{"a":{}},"limit":{}},"required":["q"]}}`),
		json.RawMessage(`{"name":"odd","description":"` + strings.Repeat("long ", 30) + `","inputSchema":{"properties":[]}}`),
	}
	var out bytes.Buffer
	if err := tableTools(&out, tools); err != nil {
		t.Fatal(err)
	}
	want := "TOOL  ARGUMENTS  DESCRIPTION\n" +
		"find  q [limit]  Finds\ufffd things.\n" +
		"odd              " + strings.TrimSpace(strings.Repeat("long ", 16)) + "…\n"
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
	out.Reset()
	if err := writeTools(&out, tools); err != nil {
		t.Fatal(err)
	}
	if want = `{"tools":[` + "\n" + string(tools[0]) + ",\n" + string(tools[1]) + "\n]}\n"; out.String() != want {
		t.Errorf("got %s", out.String())
	}
}
