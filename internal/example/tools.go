package example

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/jsonschema-go/jsonschema"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Bounds of the slow tool, so that no call can hold a server for long.
const (
	maxSeconds = 300
	maxSteps   = 1000
)

func addTools(s *mcp.Server) {
	mcp.AddTool(s, &mcp.Tool{
		Name: "echo", Description: "Repeats the message.", Annotations: readOnly(true),
	}, echo)
	mcp.AddTool(s, &mcp.Tool{
		Name: "add", Description: "Adds two numbers.", Annotations: readOnly(true),
	}, add)
	mcp.AddTool(s, &mcp.Tool{
		Name: "slow", Description: "Waits, reports progress at every step, and can be cancelled.",
		Annotations: readOnly(true), InputSchema: slowSchema(),
	}, slow)
	mcp.AddTool(s, &mcp.Tool{
		Name: "time", Description: "Tells the time in a time zone.", Annotations: readOnly(false),
	}, tellTime)
}

// readOnly describes a tool that changes nothing and reaches nothing outside.
func readOnly(idempotent bool) *mcp.ToolAnnotations {
	no := false
	return &mcp.ToolAnnotations{ReadOnlyHint: true, IdempotentHint: idempotent, DestructiveHint: &no, OpenWorldHint: &no}
}

func text(format string, args ...any) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: fmt.Sprintf(format, args...)}}}
}

type echoArgs struct {
	Message string `json:"message" jsonschema:"what to repeat"`
}

func echo(_ context.Context, _ *mcp.CallToolRequest, in echoArgs) (*mcp.CallToolResult, any, error) {
	return text("%s", in.Message), nil, nil
}

type addArgs struct {
	A float64 `json:"a" jsonschema:"the first number"`
	B float64 `json:"b" jsonschema:"the second number"`
}

type addResult struct {
	Sum float64 `json:"sum" jsonschema:"a plus b"`
}

func add(_ context.Context, _ *mcp.CallToolRequest, in addArgs) (*mcp.CallToolResult, addResult, error) {
	sum := in.A + in.B
	return text("%g", sum), addResult{Sum: sum}, nil
}

type slowArgs struct {
	Seconds float64 `json:"seconds,omitempty"`
	Steps   int     `json:"steps,omitempty"`
}

// slowSchema is written out because tags cannot carry bounds and defaults.
func slowSchema() *jsonschema.Schema {
	number := func(v float64) *float64 { return &v }
	return &jsonschema.Schema{
		Type: "object",
		Properties: map[string]*jsonschema.Schema{
			"seconds": {
				Type: "number", Description: "how long to wait in all",
				Minimum: number(0), Maximum: number(maxSeconds), Default: []byte("3"),
			},
			"steps": {
				Type: "integer", Description: "how many progress reports to send",
				Minimum: number(1), Maximum: number(maxSteps), Default: []byte("6"),
			},
		},
		AdditionalProperties: &jsonschema.Schema{Not: &jsonschema.Schema{}},
	}
}

func slow(ctx context.Context, req *mcp.CallToolRequest, in slowArgs) (*mcp.CallToolResult, any, error) {
	step := time.Duration(in.Seconds * float64(time.Second) / float64(in.Steps))
	ticker := time.NewTimer(step)
	defer ticker.Stop()
	for i := 1; i <= in.Steps; i++ {
		select {
		case <-ctx.Done():
			return nil, nil, fmt.Errorf("cancelled at step %d of %d: %w", i, in.Steps, ctx.Err())
		case <-ticker.C:
			ticker.Reset(step)
		}
		if err := report(ctx, req, i, in.Steps); err != nil {
			return nil, nil, err
		}
	}
	return text("done: %d steps in %g seconds", in.Steps, in.Seconds), nil, nil
}

// report sends one progress notification when the caller asked for them.
func report(ctx context.Context, req *mcp.CallToolRequest, step, total int) error {
	token := req.Params.GetProgressToken()
	if token == nil {
		return nil
	}
	return req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{
		ProgressToken: token,
		Progress:      float64(step),
		Total:         float64(total),
		Message:       fmt.Sprintf("step %d of %d", step, total),
	})
}

type timeArgs struct {
	Zone string `json:"zone,omitempty" jsonschema:"IANA name such as Europe/Berlin; UTC when left out"`
}

type timeResult struct {
	Time string `json:"time" jsonschema:"RFC 3339"`
	Zone string `json:"zone"`
}

func tellTime(_ context.Context, _ *mcp.CallToolRequest, in timeArgs) (*mcp.CallToolResult, timeResult, error) {
	// "Local" would tell where the machine stands; that is nobody's business.
	if in.Zone == "Local" {
		return nil, timeResult{}, errors.New(`unknown time zone "Local"`)
	}
	zone, err := time.LoadLocation(in.Zone)
	if err != nil {
		return nil, timeResult{}, fmt.Errorf("unknown time zone %q; use an IANA name such as Europe/Berlin", in.Zone)
	}
	now := time.Now().In(zone).Format(time.RFC3339)
	return text("%s", now), timeResult{Time: now, Zone: zone.String()}, nil
}
