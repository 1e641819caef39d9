package real_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// step is one thing that a client does. Op is tools, prompts, resources,
// templates (list all pages), call, prompt, read or complete (with Params), ask
// (a call whose tool asks back), or able, which does nothing: a client that
// takes it or asks declares that it can be asked.
type step struct {
	Op       string         `json:"op"`
	Params   map[string]any `json:"params,omitempty"`
	Progress bool           `json:"progress,omitempty"` // ask for progress
	Varies   bool           `json:"-"`                  // the result holds the token, which each client chooses
}

// seen is what a client got for a step: decoded JSON, so that it compares by value.
type seen struct {
	Op       string           `json:"op"`
	Result   any              `json:"result"`
	Error    *clientError     `json:"error"`
	Progress []map[string]any `json:"progress"`
}

type clientError struct {
	Name    string `json:"name"`
	Code    any    `json:"code"`   // of JSON-RPC, or the SDK's own name of a transport fault
	Status  int    `json:"status"` // of HTTP, where the SDK tells
	Message string `json:"message"`
}

// report is what a client tells of a session.
type report struct {
	Server struct {
		Version      string         `json:"version"` // negotiated; "" where the SDK does not tell
		Capabilities map[string]any `json:"capabilities"`
		Info         map[string]any `json:"info"`
	} `json:"server"`
	Steps  []seen   `json:"steps"`
	Errors []string `json:"errors"` // faults beside the steps
}

// target is what a client connects to: a server entry, or an endpoint of the gateway.
type target = server

// client is one official client in one of its eras.
type client struct {
	name  string
	like  string // the client whose direct answers its own are compared with
	era   string // what it is told: legacy, auto, modern, or a version
	wants string // the protocol version that must come out
	drive func(t *testing.T, p *parts, to target, era string, steps []step) report
}

const (
	modern = "2026-07-28"
	legacy = "2025-11-25"
)

var clients = []client{
	{"typescript-1", "typescript-1", "legacy", legacy, script("sdk1.mjs")},
	{"typescript-2-legacy", "typescript-2-legacy", "legacy", legacy, script("client2.mjs")},
	{"typescript-2-auto", "typescript-2-legacy", "auto", modern, script("client2.mjs")},
	{"typescript-2-modern", "typescript-2-legacy", "modern", modern, script("client2.mjs")},
	{"go-legacy", "go-legacy", "legacy", legacy, driveGo},
	{"go-2025-06-18", "go-legacy", "2025-06-18", "2025-06-18", driveGo},
	{"go-2025-03-26", "go-legacy", "2025-03-26", "2025-03-26", driveGo},
	{"go-2024-11-05", "go-legacy", "2024-11-05", "2024-11-05", driveGo},
	{"go-modern", "go-legacy", "modern", modern, driveGo},
}

// script drives a TypeScript client; npm/steps.mjs is the other half.
func script(name string) func(*testing.T, *parts, target, string, []step) report {
	return func(t *testing.T, p *parts, to target, era string, steps []step) report {
		t.Helper()
		job, err := json.Marshal(struct {
			target
			Era   string `json:"era"`
			Steps []step `json:"steps"`
		}{to, era, steps})
		if err != nil {
			t.Fatal(err)
		}
		stdout, stderr, err := runNode(t, p, filepath.Join(p.modules, name), string(job))
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSpace(stdout), []byte("\n")) // the SDK may print before
		var r report
		if err := json.Unmarshal(lines[len(lines)-1], &r); err != nil {
			t.Fatalf("%s: %v\n%s%s", name, err, stdout, stderr)
		}
		return r
	}
}

// driveGo drives the Go SDK's client.
func driveGo(t *testing.T, _ *parts, to target, era string, steps []step) report {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	g := &goClient{progress: map[any][]map[string]any{}}
	options := &mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}, ProgressNotificationHandler: g.onProgress}
	asked := slices.ContainsFunc(steps, func(s step) bool { return s.Op == "able" || s.Op == "ask" })
	if asked {
		agreeable(options)
	}
	c := mcp.NewClient(&mcp.Implementation{Name: "toolcrib-real-test", Version: "1.0.0"}, options)
	if asked {
		c.AddRoots(&mcp.Root{URI: "file:///work", Name: "work"})
	}
	version := era
	if known, ok := map[string]string{"legacy": legacy, "modern": modern}[era]; ok {
		version = known
	}
	session, err := c.Connect(ctx, transportTo(to), &mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := session.Close(); err != nil {
			t.Errorf("closing the session: %v", err)
		}
	}()
	g.session = session
	var r report
	init := session.InitializeResult()
	r.Server.Version = init.ProtocolVersion
	jsonInto(t, init.Capabilities, &r.Server.Capabilities)
	jsonInto(t, init.ServerInfo, &r.Server.Info)
	for i, s := range steps {
		result, err := g.take(ctx, s, i)
		got := seen{Op: s.Op, Progress: g.take1(i)}
		if err != nil {
			got.Error = goError(err)
		} else {
			jsonInto(t, result, &got.Result)
		}
		r.Steps = append(r.Steps, got)
	}
	return r
}

// bearer sends a key with each request, unless it is empty.
type bearer string

func (b bearer) RoundTrip(r *http.Request) (*http.Response, error) {
	if b != "" {
		r = r.Clone(r.Context())
		r.Header.Set("Authorization", "Bearer "+string(b))
	}
	return http.DefaultTransport.RoundTrip(r)
}

func transportTo(to target) mcp.Transport {
	if strings.HasSuffix(to.URL, "/sse") {
		return &mcp.SSEClientTransport{Endpoint: to.URL}
	}
	if to.URL != "" {
		return &mcp.StreamableClientTransport{Endpoint: to.URL, HTTPClient: &http.Client{Transport: bearer(to.Key)}}
	}
	cmd := exec.Command(to.Command, to.Args...)
	cmd.Env = os.Environ()
	for name, value := range to.Env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	return &mcp.CommandTransport{Command: cmd}
}

type goClient struct {
	session *mcp.ClientSession

	mu       sync.Mutex
	progress map[any][]map[string]any // by token
}

func (g *goClient) onProgress(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.progress[r.Params.ProgressToken] = append(g.progress[r.Params.ProgressToken],
		map[string]any{"progress": r.Params.Progress, "total": r.Params.Total})
}

func token(i int) string { return fmt.Sprintf("step-%d", i) }

// take1 gives the progress that arrived for a step.
func (g *goClient) take1(i int) []map[string]any {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.progress[token(i)]
}

func (g *goClient) take(ctx context.Context, s step, i int) (any, error) {
	switch s.Op {
	case "able":
		return struct{}{}, nil
	case "tools":
		return collect(g.session.Tools(ctx, nil))
	case "prompts":
		return collect(g.session.Prompts(ctx, nil))
	case "resources":
		return collect(g.session.Resources(ctx, nil))
	case "templates":
		return collect(g.session.ResourceTemplates(ctx, nil))
	case "call", "ask":
		params, err := remarshal[mcp.CallToolParams](s.Params)
		if err != nil {
			return nil, err
		}
		if s.Progress {
			params.SetProgressToken(token(i))
		}
		return g.session.CallTool(ctx, params)
	case "prompt":
		params, err := remarshal[mcp.GetPromptParams](s.Params)
		if err != nil {
			return nil, err
		}
		return g.session.GetPrompt(ctx, params)
	case "read":
		params, err := remarshal[mcp.ReadResourceParams](s.Params)
		if err != nil {
			return nil, err
		}
		return g.session.ReadResource(ctx, params)
	case "complete":
		params, err := remarshal[mcp.CompleteParams](s.Params)
		if err != nil {
			return nil, err
		}
		return g.session.Complete(ctx, params)
	}
	return nil, fmt.Errorf("no step %q", s.Op)
}

func collect[T any](pages func(func(*T, error) bool)) ([]*T, error) {
	all := []*T{}
	for item, err := range pages {
		if err != nil {
			return nil, err
		}
		all = append(all, item)
	}
	return all, nil
}

func remarshal[T any](from map[string]any) (*T, error) {
	data, err := json.Marshal(from)
	if err != nil {
		return nil, err
	}
	to := new(T)
	return to, json.Unmarshal(data, to)
}

func jsonInto(t *testing.T, from, to any) {
	t.Helper()
	data, err := json.Marshal(from)
	if err == nil {
		err = json.Unmarshal(data, to)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func goError(err error) *clientError {
	out := &clientError{Name: fmt.Sprintf("%T", err), Message: err.Error()}
	if rpc, ok := errors.AsType[*jsonrpc.Error](err); ok {
		out.Code = float64(rpc.Code)
	}
	return out
}
