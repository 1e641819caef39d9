package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/mcp"
)

type callCmd struct {
	Name   string   `arg:"" help:"Name of the tool, as \"toolcrib tools\" shows it."`
	Arg    []string `short:"a" placeholder:"NAME=VALUE" sep:"none" help:"An argument: a value that is JSON is sent as it is, any other as text. May be repeated."`
	Text   []string `short:"t" placeholder:"NAME=VALUE" sep:"none" help:"An argument that is text even if it looks like JSON. May be repeated."`
	Args   string   `placeholder:"JSON" help:"The arguments as one JSON object, or @FILE to read it from a file, or - for standard input."`
	Output string   `short:"o" enum:"text,json" default:"text" help:"text, or json: the result as the server sent it."`
	target `embed:""`
}

func (*callCmd) Help() string {
	return `The result goes to standard output, progress to standard error. Arguments are
sent byte for byte: 9007199254740993 and 1.0 arrive as they are written.
` + targetHelp + `
Examples:

    toolcrib call example__echo --arg message=hello
    toolcrib call example__add --arg a=2 --arg b=3 -o json
    toolcrib call find --text zip=10115 --args '{"limit": 5}'
    toolcrib call slow -a seconds=5 -- toolcrib example
    toolcrib call read_file --args @request.json --config mcp.json --server files

Exit codes: 0 done, 1 the tool or the server reported an error, 2 the command
line is wrong, 3 the server cannot be reached, 130 interrupted.
`
}

func (c *callCmd) Run(ctx context.Context, sys *system) error {
	params, err := c.params(sys)
	if err != nil {
		return err
	}
	return c.with(ctx, sys, func(ctx context.Context, conn *app.Conn) error {
		show := newProgress(sys.stderr)
		result, err := conn.Do(ctx, mcp.MethodToolsCall, params, show.notify)
		show.done()
		if c.Output == "json" {
			return writeCallJSON(sys, result, err)
		}
		if err != nil {
			return err
		}
		return writeResult(sys, result)
	})
}

// params builds the parameters of tools/call. The progress token asks the
// server to report progress.
func (c *callCmd) params(sys *system) ([]byte, error) {
	object, err := readArguments(sys, c.Args)
	if err != nil {
		return nil, err
	}
	args, err := arguments(object, c.Arg, c.Text)
	if err != nil {
		return nil, err
	}
	params := append(mcp.AppendString([]byte(`{"name":`), c.Name), `,"arguments":`...)
	params = append(params, args...)
	return append(params, `,"_meta":{"progressToken":"toolcrib-call"}}`...), nil
}

// writeJSON writes the result, or the error that the server answered, as JSON.
func writeCallJSON(sys *system, result []byte, err error) error {
	answer := new(mcp.Error)
	switch {
	case errors.As(err, &answer):
		_, _ = sys.stdout.Write(errorJSON(answer))
		return err
	case err != nil:
		return err
	}
	if _, err := fmt.Fprintf(sys.stdout, "%s\n", result); err != nil {
		return err
	}
	var r struct {
		IsError    bool   `json:"isError"`
		ResultType string `json:"resultType"`
	}
	_ = json.Unmarshal(result, &r) // it was scanned as an object; an odd member leaves the rest
	return verdict(r.IsError, r.ResultType, "")
}

// errorJSON is {"error": ...} as in the server's answer, and a newline.
func errorJSON(e *mcp.Error) []byte {
	b := fmt.Appendf(nil, `{"error":{"code":%d,"message":`, e.Code)
	b = mcp.AppendString(b, e.Message)
	if len(e.Data) > 0 {
		b = append(append(b, `,"data":`...), e.Data...)
	}
	return append(b, "}}\n"...)
}

// verdict turns what a result says of itself into an exit code. text, when not
// empty, is what the tool said of its error.
func verdict(isError bool, resultType, text string) error {
	switch {
	case isError && text != "":
		return failf("the tool reported an error: %s", text)
	case isError:
		return failf("the tool reported an error")
	case resultType == "input_required":
		return failf("the tool asks a question before it goes on, which this command cannot answer yet")
	case resultType != "" && resultType != "complete":
		return failf("the server answered with %q, which this command does not know", printable(resultType))
	}
	return nil
}
