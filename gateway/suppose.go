package gateway

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
)

// Explain tells how a gateway with the plan would decide: at the endpoint of a toolset by the names that tools have there, and by
// the arguments that it fixes.
func Explain(p *plan.Plan, q *policy.Question) (*policy.Explanation, error) {
	if t := p.Toolset(q.Toolset); t != nil {
		at := *q
		if err := within(t, &at); err != nil {
			return nil, err
		}
		q = &at
	}
	return p.Policies.Answer(p.Config, q)
}

// within puts a question about something of a toolset as calls there are decided.
func within(t *plan.Toolset, q *policy.Question) error {
	switch {
	case q.Prompt != "" && !holdsPrompt(t, q.Prompt):
		return fmt.Errorf("the toolset %.80q does not hold the prompt %.128q", t.Name, q.Prompt)
	case q.Tool == "":
		return nil
	}
	s, own, tool := t.FindTool([]byte(q.Tool))
	if s == nil {
		return fmt.Errorf("the toolset %.80q has no tool of the name %.128q%s", t.Name, q.Tool, renamed(t, q.Tool))
	}
	q.Tool = s.Prefix + string(own)
	if !tool.Shapes() || q.Arguments == nil { // without a call nothing is fixed
		return nil
	}
	args, err := shaped(tool, q.Arguments)
	q.Arguments = args
	return err
}

func holdsPrompt(t *plan.Toolset, name string) bool {
	s, _ := t.FindPrompt([]byte(name))
	return s != nil
}

// renamed says which name a tool has in a toolset that has another at /mcp.
func renamed(t *plan.Toolset, name string) string {
	if as := t.Spec.Tools[name].As; as != "" {
		return "; there it is " + as
	}
	return ""
}

// shaped are the arguments that a server is sent in place of a client's.
func shaped(t *plan.ToolsetTool, args json.RawMessage) (json.RawMessage, error) {
	var in mcp.Raw
	in.Body = bytes.Join([][]byte{[]byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"","arguments":`), args, []byte("}}")}, nil)
	if err := in.Scan(wide(in.Body)); err != nil {
		return nil, fmt.Errorf("the arguments cannot be read: %w", err)
	}
	var e mcp.Edits
	if err := editArguments(&e, &in, t); err != nil {
		return nil, err
	}
	if !e.Empty() {
		in.Body = e.Append(nil, in.Body)
		if err := in.Scan(wide(in.Body)); err != nil {
			return nil, fmt.Errorf("arguments with those that are fixed are not valid: %w", err)
		}
	}
	return json.RawMessage(in.Get(mcp.KeyArguments).Of(in.Body)), nil
}
