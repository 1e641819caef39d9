package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/toolcrib/toolcrib/mcp"
)

// prepared is what is found out about the server before the load.
type prepared struct {
	eras  []bool // modern or not: callers are of these by turns
	mix   Mix
	order []Op // what is sent, over and over
	calls []request
	notes []string
}

// prepare finds the era and the tools, and tries what is not sure to be there.
func (o *Options) prepare(ctx context.Context) (*prepared, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	p := new(prepared)
	first, tools, err := o.meet(ctx)
	if err != nil {
		return nil, err
	}
	defer first.close(context.WithoutCancel(ctx))
	p.eras = []bool{first.modern}
	if o.Era == EraBoth {
		other := newClient(o, !first.modern)
		defer other.close(context.WithoutCancel(ctx))
		if _, fault := other.greet(ctx); fault != nil {
			return nil, fmt.Errorf("the server does not speak the %s era: %s; leave --era out", other.era(), fault.example)
		}
		p.eras = []bool{true, false}
	}
	mix := o.Mix
	if mix[Call] > 0 {
		if err := p.chooseCalls(o.Tools, tools); err != nil {
			return nil, err
		}
	}
	if mix[Stream] > 0 {
		if fault := first.do(ctx, &request{op: Stream}); fault != nil {
			p.notes = append(p.notes, fmt.Sprintf("no streams were opened: the server has none (%s)", fault.example))
			mix[Stream] = 0
		}
	}
	if mix == (Mix{}) {
		return nil, errors.New("the server has no streams, and --mix has nothing else")
	}
	p.mix, p.order = mix, mix.spread()
	return p, nil
}

// meet is a first caller, of the era that is asked for or else the newest, and the tools it sees.
func (o *Options) meet(ctx context.Context) (*client, []json.RawMessage, error) {
	var first *fault
	for _, modern := range []bool{true, false} {
		c := newClient(o, modern)
		if o.Era != "" && o.Era != EraBoth && o.Era != c.era() {
			continue
		}
		tools, fault := c.greet(ctx)
		if fault == nil {
			return c, tools, nil
		}
		c.close(context.WithoutCancel(ctx))
		if first == nil {
			first = fault
		}
		if fault.kind == FailedConnection || fault.waited() || fault.status == 401 || fault.status == 403 {
			break // which has nothing to do with the era
		}
	}
	return nil, nil, &Refusal{
		Status: first.status, Text: first.String(),
		Absent: first.kind == FailedConnection && strings.Contains(first.example, syscall.ECONNREFUSED.Error()),
	}
}

// Refusal is that a server lets nobody begin.
type Refusal struct {
	Status int // of HTTP, 0 where there was none
	Text   string
	Absent bool // nobody listens there
}

func (r *Refusal) Error() string { return r.Text }

// String says what failed.
func (f *fault) String() string { return f.name() + ": " + f.example }

// greet does what a client does first.
func (c *client) greet(ctx context.Context) ([]json.RawMessage, *fault) {
	if fault := c.ready(ctx); fault != nil {
		return nil, fault
	}
	return c.list(ctx)
}

// tool is what is looked at of one.
type tool struct {
	Name        string          `json:"name"`
	InputSchema json.RawMessage `json:"inputSchema"`
	Annotations struct {
		ReadOnly bool `json:"readOnlyHint"`
	} `json:"annotations"`
}

// chooseCalls makes the requests out of those named, or of the tools that only read.
func (p *prepared) chooseCalls(named []ToolCall, listed []json.RawMessage) error {
	tools := make([]tool, 0, len(listed))
	for _, raw := range listed {
		var t tool
		if json.Unmarshal(raw, &t) == nil {
			tools = append(tools, t)
		}
	}
	for _, call := range named {
		i := slices.IndexFunc(tools, func(t tool) bool { return t.Name == call.Name })
		if i < 0 {
			return fmt.Errorf("--tool %s: the server has no such tool for you; \"toolcrib tools\" shows those it has", call.Name)
		}
		if err := p.addCall(&tools[i], call.Args); err != nil {
			return fmt.Errorf("--tool %s: %w", call.Name, err)
		}
	}
	if len(named) > 0 {
		return nil
	}
	var left []string
	for i := range tools {
		if !tools[i].Annotations.ReadOnly {
			continue
		}
		if err := p.addCall(&tools[i], nil); err != nil {
			left = append(left, tools[i].Name)
		}
	}
	switch {
	case len(p.calls) == 0 && len(left) > 0:
		return fmt.Errorf("no tool can be called without knowing its arguments: give one with them: --tool '%s={…}'; there are %s", left[0], some(left))
	case len(p.calls) == 0:
		return fmt.Errorf("no tool of %d says that it only reads (annotation readOnlyHint): name one that may be called often with --tool NAME={…}, "+
			"or send no calls: --mix connect=1,list=4", len(tools))
	case len(left) > 0:
		p.notes = append(p.notes, "not called, for their arguments are not known (--tool NAME={…} gives them): "+some(left))
	}
	return nil
}

const someMost = 5

// some names the first of them.
func some(names []string) string {
	if len(names) > someMost {
		return fmt.Sprintf("%s and %d more", cut(strings.Join(names[:someMost], ", ")), len(names)-someMost)
	}
	return cut(strings.Join(names, ", "))
}

// addCall makes the request of a tool.
func (p *prepared) addCall(t *tool, args []byte) error {
	if len(args) == 0 {
		var err error
		if args, err = sampleArguments(t.InputSchema); err != nil {
			return err
		}
	}
	params := append(mcp.AppendString([]byte(`"name":`), t.Name), `,"arguments":`...)
	r := request{op: Call, method: "tools/call", name: t.Name, params: string(append(params, args...))}
	mirrored, err := mcp.Params(t.InputSchema)
	if err != nil {
		return fmt.Errorf("the server declares its headers wrongly: %w", err)
	}
	if len(mirrored) > 0 {
		if r.headers, err = mirror(mirrored, r.params); err != nil {
			return err
		}
	}
	p.calls = append(p.calls, r)
	return nil
}

// mirror is the headers that repeat arguments.
func mirror(ps []mcp.Param, params string) ([]header, error) {
	raw := mcp.Raw{Body: []byte(`{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{` + params + `}}`)}
	defer raw.Free()
	if e := raw.Scan(mcp.Limits{}); e != nil {
		return nil, e
	}
	lines, e := mcp.AppendParamHeaders(nil, ps, &raw)
	if e != nil {
		return nil, e
	}
	var headers []header
	for line := range bytes.SplitSeq(bytes.TrimSuffix(lines, []byte("\r\n")), []byte("\r\n")) {
		name, value, _ := strings.Cut(string(line), ": ")
		headers = append(headers, header{name, value})
	}
	return headers, nil
}

// sampleArguments are those that a schema itself tells: those required must have a default, a constant, a choice or an example.
func sampleArguments(schema []byte) ([]byte, error) {
	var s struct {
		Properties map[string]json.RawMessage `json:"properties"`
		Required   []string                   `json:"required"`
	}
	if len(schema) > 0 && json.Unmarshal(schema, &s) != nil {
		return nil, errors.New("its schema cannot be read: give its arguments, NAME={…}")
	}
	b := []byte{'{'}
	for _, name := range s.Required {
		value := sampleValue(s.Properties[name])
		if value == nil {
			return nil, fmt.Errorf("it needs the argument %s: give its arguments, NAME={%s: …}", strconv.Quote(name), strconv.Quote(name))
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = append(append(mcp.AppendString(b, name), ':'), value...)
	}
	return append(b, '}'), nil
}

// sampleValue is a value that a schema tells, nil for none.
func sampleValue(schema []byte) json.RawMessage {
	var s struct {
		Default  json.RawMessage   `json:"default"`
		Const    json.RawMessage   `json:"const"`
		Examples []json.RawMessage `json:"examples"`
		Enum     []json.RawMessage `json:"enum"`
	}
	if json.Unmarshal(schema, &s) != nil {
		return nil
	}
	for _, list := range [][]json.RawMessage{{s.Default}, {s.Const}, s.Examples, s.Enum} {
		if len(list) > 0 && list[0] != nil {
			return list[0]
		}
	}
	return nil
}
