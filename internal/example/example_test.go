package example_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/modelcontextprotocol/go-sdk/mcp"
	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/internal/example"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// versions are one of each era.
var versions = []string{"2026-07-28", "2025-11-25", "2025-03-26"}

// eachWay runs f with a client of every version, over HTTP and over stdio.
func eachWay(t *testing.T, f func(t *testing.T, connect func(*mcp.ClientOptions) *mcp.ClientSession)) {
	t.Helper()
	for _, version := range versions {
		for name, transport := range map[string]func(*testing.T) mcp.Transport{"http": overHTTP, "stdio": overStdio} {
			t.Run(name+"/"+version, func(t *testing.T) {
				f(t, func(o *mcp.ClientOptions) *mcp.ClientSession {
					return connect(t, transport(t), version, o)
				})
			})
		}
	}
}

func overHTTP(t *testing.T) mcp.Transport {
	srv := httptest.NewServer(example.Handler("1.2.3"))
	t.Cleanup(srv.Close)
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	return &mcp.StreamableClientTransport{Endpoint: srv.URL, HTTPClient: client}
}

func overStdio(t *testing.T) mcp.Transport {
	serverIn, clientOut := io.Pipe()
	clientIn, serverOut := io.Pipe()
	done := make(chan error, 1)
	go func() {
		done <- example.ServeStdio(context.Background(), serverIn, serverOut, "1.2.3")
		_ = serverOut.Close()
	}()
	t.Cleanup(func() {
		_ = clientOut.Close()
		// A client that closes its end leaves nobody to take the answer of a call that it has cancelled.
		if err := <-done; err != nil && !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("ServeStdio: %v", err)
		}
	})
	return &mcp.IOTransport{Reader: clientIn, Writer: clientOut}
}

func connect(t *testing.T, transport mcp.Transport, version string, o *mcp.ClientOptions) *mcp.ClientSession {
	t.Helper()
	client := mcp.NewClient(&mcp.Implementation{Name: "test", Version: "0"}, o)
	s, err := client.Connect(t.Context(), transport, &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if got := s.InitializeResult().ProtocolVersion; got != version {
		t.Fatalf("negotiated %s, want %s", got, version)
	}
	return s
}

func textOf(t *testing.T, r *mcp.CallToolResult, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	content, ok := r.Content[0].(*mcp.TextContent)
	if !ok {
		t.Fatalf("content %T, want text", r.Content[0])
	}
	return content.Text
}

func TestTools(t *testing.T) {
	tests := []struct {
		name    string
		tool    string
		args    map[string]any
		want    string
		isError bool
	}{
		{"echo", "echo", map[string]any{"message": "hi \u00a0\u200d\ufeff"}, "hi \u00a0\u200d\ufeff", false},
		{"add", "add", map[string]any{"a": 2, "b": 0.5}, "2.5", false},
		{"slow at once", "slow", map[string]any{"seconds": 0, "steps": 2}, "done: 2 steps in 0 seconds", false},
		{"slow bounded", "slow", map[string]any{"seconds": 301}, "301", true},
		{"zone unknown", "time", map[string]any{"zone": "Nowhere"}, `unknown time zone "Nowhere"`, true},
		{"zone of the machine", "time", map[string]any{"zone": "Local"}, `unknown time zone "Local"`, true},
		{"argument missing", "echo", nil, "message", true},
	}
	eachWay(t, func(t *testing.T, connect func(*mcp.ClientOptions) *mcp.ClientSession) {
		s := connect(nil)
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				r, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: tt.tool, Arguments: tt.args})
				if got := textOf(t, r, err); !strings.Contains(got, tt.want) || r.IsError != tt.isError {
					t.Errorf("got %q (isError %t), want %q (%t)", got, r.IsError, tt.want, tt.isError)
				}
			})
		}
	})
}

func TestLists(t *testing.T) {
	eachWay(t, func(t *testing.T, connect func(*mcp.ClientOptions) *mcp.ClientSession) {
		s := connect(nil)
		var got []string
		for v, err := range s.Tools(t.Context(), nil) {
			got = append(got, name(t, v, err, func() string { return v.Name }))
		}
		for v, err := range s.Prompts(t.Context(), nil) {
			got = append(got, name(t, v, err, func() string { return v.Name }))
		}
		for v, err := range s.Resources(t.Context(), nil) {
			got = append(got, name(t, v, err, func() string { return v.URI }))
		}
		for v, err := range s.ResourceTemplates(t.Context(), nil) {
			got = append(got, name(t, v, err, func() string { return v.URITemplate }))
		}
		want := []string{"add", "echo", "slow", "time", "greet", "example://about", "example://greeting/{name}"}
		if d := cmp.Diff(want, got); d != "" {
			t.Error(d)
		}
	})
}

func name(t *testing.T, _ any, err error, name func() string) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return name()
}

func TestReadGetComplete(t *testing.T) {
	eachWay(t, func(t *testing.T, connect func(*mcp.ClientOptions) *mcp.ClientSession) {
		s := connect(nil)
		read, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "example://greeting/Ada%20L"})
		if err != nil {
			t.Fatal(err)
		}
		if got := read.Contents[0].Text; got != "Hello, Ada L!\n" {
			t.Errorf("read %q", got)
		}
		if _, err = s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "example://none"}); err == nil {
			t.Error("an unknown resource was read")
		}
		prompt, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "greet", Arguments: map[string]string{"name": "Ada"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := prompt.Messages[0].Content.(*mcp.TextContent).Text; got != "Greet Ada in one sentence, in a friendly tone." {
			t.Errorf("prompt %q", got)
		}
		if _, err = s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "greet"}); err == nil {
			t.Error("the prompt did without its required argument")
		}
		completion, err := s.Complete(t.Context(), &mcp.CompleteParams{
			Ref:      &mcp.CompleteReference{Type: "ref/prompt", Name: "greet"},
			Argument: mcp.CompleteParamsArgument{Name: "style", Value: "F"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff([]string{"formal", "friendly"}, completion.Completion.Values); d != "" {
			t.Error(d)
		}
	})
}

func TestProgress(t *testing.T) {
	eachWay(t, func(t *testing.T, connect func(*mcp.ClientOptions) *mcp.ClientSession) {
		got := make(chan string, 3)
		s := connect(&mcp.ClientOptions{
			ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
				got <- r.Params.Message
			},
		})
		p := &mcp.CallToolParams{Name: "slow", Arguments: map[string]any{"seconds": 0.01, "steps": 3}}
		p.Meta = mcp.Meta{"progressToken": "p"}
		r, err := s.CallTool(t.Context(), p)
		if want := "done: 3 steps in 0.01 seconds"; textOf(t, r, err) != want {
			t.Errorf("got %q", textOf(t, r, err))
		}
		for _, want := range []string{"step 1 of 3", "step 2 of 3", "step 3 of 3"} {
			if m := <-got; m != want {
				t.Errorf("progress %q, want %q", m, want)
			}
		}
	})
}

// TestCancel proves that a cancelled call ends in the server: closing it waits
// for running handlers, and this one would run for minutes.
func TestCancel(t *testing.T) {
	eachWay(t, func(t *testing.T, connect func(*mcp.ClientOptions) *mcp.ClientSession) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		s := connect(&mcp.ClientOptions{
			ProgressNotificationHandler: func(context.Context, *mcp.ProgressNotificationClientRequest) { cancel() },
		})
		p := &mcp.CallToolParams{Name: "slow", Arguments: map[string]any{"seconds": 300, "steps": 1000}}
		p.Meta = mcp.Meta{"progressToken": "p"}
		if _, err := s.CallTool(ctx, p); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestForeignOrigin(t *testing.T) {
	h := example.Handler("1")
	for _, version := range []string{"", "2026-07-28"} {
		r := httptest.NewRequest(http.MethodPost, "http://127.0.0.1/mcp", strings.NewReader(`{}`))
		r.Header.Set("Origin", "https://evil.example")
		r.Header.Set("Mcp-Protocol-Version", version)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code != http.StatusForbidden {
			t.Errorf("version %q: status %d, want 403", version, w.Code)
		}
	}
}

func TestServe(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	url, done := make(chan string, 1), make(chan error, 1)
	go func() { done <- example.Serve(ctx, "127.0.0.1:0", "1", func(u string) { url <- u }) }()
	client := &http.Client{Transport: &http.Transport{}}
	s := connect(t, &mcp.StreamableClientTransport{Endpoint: <-url, HTTPClient: client}, versions[0], nil)
	r, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"message": "m"}})
	if textOf(t, r, err) != "m" {
		t.Error("echo did not echo")
	}
	_ = s.Close()
	client.CloseIdleConnections()
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestServeRefuses(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "nonsense"} {
		err := example.Serve(t.Context(), addr, "1", func(string) { t.Error("ready") })
		if err == nil {
			t.Errorf("%s: no error", addr)
		}
	}
}
