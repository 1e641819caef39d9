package real_test

import (
	"bytes"
	"context"
	"encoding/json"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// interactiveClients are those that answer what servers ask them.
var interactiveClients = []client{
	{"typescript-1", "", "legacy", legacy, script("sdk1.mjs")},
	{"typescript-2-legacy", "", "legacy", legacy, script("client2.mjs")},
	{"typescript-2-modern", "", "modern", modern, script("client2.mjs")},
	{"go-legacy", "", "legacy", legacy, driveGo},
	{"go-modern", "", "modern", modern, driveGo},
	{"mark3labs-legacy", "", "legacy", legacy, driveMark3labs},
	{"mark3labs-modern", "", "modern", modern, driveMark3labs},
}

// interactiveServers prepares each kind of server that asks its client.
func interactiveServers(t *testing.T, p *parts) map[string]server {
	t.Helper()
	program := filepath.Join(p.goBin, "interactive")
	listen := func(more ...string) server {
		addr := freeAddr(t)
		start(t, program, append([]string{"-http=" + addr}, more...)...)
		waitFor(t, "http://"+addr, 600)
		return server{URL: "http://" + addr}
	}
	return map[string]server{
		"http-modern":  listen(),
		"http-legacy":  listen("-legacy"),
		"stdio-modern": {Command: program},
		"stdio-legacy": {Command: program, Args: []string{"-legacy"}},
	}
}

// interactiveEnds are the texts that the tools of the server end with when the client agrees.
var interactiveEnds = map[string]string{
	"trip":  "WHERE?, WHEN IN WHERE??",
	"rain":  "it rains",
	"roots": "file:///work",
	"all":   "REALLY?, it rains, file:///work",
}

// fleet starts replicas of the gateway in front of servers, behind a balancer that chooses one at random for each request.
func fleet(t *testing.T, replicas int, servers map[string]server, redis string) *testenv.Fleet {
	t.Helper()
	binary, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	c := testenv.FleetConfig{Replicas: replicas, Program: binary, Redis: redis}
	c.Entries = map[string]any{}
	c.More = map[string]any{"questions": map[string]any{"timeout": "2s"}} // clients answer at once or never
	for name, s := range servers {
		c.Entries[name] = s
	}
	return testenv.ServeFleet(t, c)
}

// TestInteractive lets each kind of server ask each client, through replicas
// that are chosen at random: two rounds of elicitation, sampling with a tool,
// roots, and all three at once.
func TestInteractive(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	servers := interactiveServers(t, p)
	t.Run("direct", func(t *testing.T) { // what the gateway is held to holds without it
		for _, c := range interactiveClients {
			t.Run(c.name, func(t *testing.T) {
				t.Parallel()
				askAll(t, p, c, servers["http-"+c.era].URL)
			})
		}
	})
	f := fleet(t, 3, servers, testenv.StartRedis(t).URL())
	for name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range interactiveClients {
				t.Run(c.name, func(t *testing.T) {
					if name != "stdio-legacy" { // stdio does not tell which of several calls asks
						t.Parallel()
					}
					askAll(t, p, c, f.URL+"/servers/"+name+"/mcp")
				})
			}
		})
	}
}

// TestEverythingAsks lets the official server-everything ask each client, over
// stdio and over HTTP with sessions.
func TestEverythingAsks(t *testing.T) {
	t.Parallel()
	p := needParts(t)
	addr := freeAddr(t)
	_, port, _ := strings.Cut(addr, ":")
	start(t, "env", "PORT="+port, p.node, p.server("everything"), "streamableHttp")
	waitFor(t, "http://"+addr+"/mcp", 600)
	servers := map[string]server{
		"http":  {URL: "http://" + addr + "/mcp"},
		"stdio": {Command: p.node, Args: []string{p.server("everything"), "stdio"}},
	}
	f := fleet(t, 3, servers, testenv.StartRedis(t).URL())
	for name := range servers {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, c := range interactiveClients {
				t.Run(c.name, func(t *testing.T) { // one after the other, since stdio does not tell which of several calls asks
					got := c.drive(t, p, target{URL: f.URL + "/servers/" + name + "/mcp"}, c.era, []step{
						{Op: "ask", Params: map[string]any{"name": "trigger-elicitation-request", "arguments": map[string]any{}}},
						{Op: "ask", Params: map[string]any{"name": "trigger-sampling-request", "arguments": map[string]any{"prompt": "does it rain?"}}},
					})
					for i, want := range []string{"PLEASE PROVIDE INPUTS", "it rains"} {
						if text := textOf(got.Steps[i]); got.Steps[i].Error != nil || !strings.Contains(text, want) {
							t.Errorf("step %d: %q %+v, want %q", i, text, got.Steps[i].Error, want)
						}
					}
				})
			}
		})
	}
}

func askAll(t *testing.T, p *parts, c client, url string) {
	t.Helper()
	var steps []step
	for tool := range interactiveEnds {
		steps = append(steps, step{Op: "ask", Params: map[string]any{"name": tool, "arguments": map[string]any{}}})
	}
	got := c.drive(t, p, target{URL: url}, c.era, steps)
	if got.Server.Version != c.wants {
		t.Errorf("negotiated version %q, want %q", got.Server.Version, c.wants)
	}
	for i, s := range got.Steps {
		tool := steps[i].Params["name"].(string)
		if end := textOf(s); s.Error != nil || end != interactiveEnds[tool] {
			t.Errorf("%s: %q %+v, want %q", tool, end, s.Error, interactiveEnds[tool])
		}
	}
}

// textOf is the text of a tool's result.
func textOf(s seen) string {
	result, _ := s.Result.(map[string]any)
	content, _ := result["content"].([]any)
	var all strings.Builder
	for _, c := range content {
		if m, ok := c.(map[string]any); ok {
			text, _ := m["text"].(string)
			all.WriteString(text)
		}
	}
	return all.String()
}

// agreeable has the Go SDK's client answer what servers ask, as npm/steps.mjs does.
func agreeable(o *mcp.ClientOptions) {
	o.Capabilities = &mcp.ClientCapabilities{
		Elicitation: &mcp.ElicitationCapabilities{Form: &mcp.FormElicitationCapabilities{}, URL: &mcp.URLElicitationCapabilities{}},
		Sampling:    &mcp.SamplingCapabilities{Tools: &mcp.SamplingToolsCapabilities{}, Context: &mcp.SamplingContextCapabilities{}},
		RootsV2:     &mcp.RootCapabilities{},
	}
	o.ElicitationHandler = func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) {
		said := strings.ToUpper(r.Params.Message)
		return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"answer": said, "name": said}}, nil
	}
	o.CreateMessageWithToolsHandler = func(_ context.Context, r *mcp.CreateMessageWithToolsRequest) (*mcp.CreateMessageWithToolsResult, error) {
		told, err := json.Marshal(r.Params.Messages)
		if err != nil {
			return nil, err
		}
		if len(r.Params.Tools) == 0 || bytes.Contains(told, []byte(`"tool_result"`)) {
			return &mcp.CreateMessageWithToolsResult{Model: "m", Role: "assistant", StopReason: "endTurn", Content: []mcp.Content{&mcp.TextContent{Text: "it rains"}}}, nil
		}
		return &mcp.CreateMessageWithToolsResult{Model: "m", Role: "assistant", StopReason: "toolUse", Content: []mcp.Content{
			&mcp.ToolUseContent{ID: "u1", Name: "weather", Input: map[string]any{"city": "Ulm"}},
		}}, nil
	}
}

// driveMark3labs drives the client of mark3labs/mcp-go, which is a program of its own.
func driveMark3labs(t *testing.T, p *parts, to target, era string, steps []step) report {
	t.Helper()
	job, err := json.Marshal(map[string]any{"url": to.URL, "era": era, "steps": steps})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), runTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(p.goBin, "mark3labs"), string(job))
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("mark3labs: %v\n%s", err, errs.Bytes())
	}
	var r report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("mark3labs: %v\n%s", err, out)
	}
	return r
}
