package app

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"log/slog"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner/launch"
	"github.com/toolcrib/toolcrib/upstream"
)

// DialOptions are what a Conn needs besides its server.
type DialOptions struct {
	Guard   []string
	Confine []string
	Log     *slog.Logger
	Version string
	// Launch decides what is started for a command or a package.
	Launch *launch.Launcher
}

// Conn is a connection of the command line to one server, or to a gateway.
type Conn struct {
	server *upstream.Server
	peer   *upstream.Peer
}

// pagesMost bounds the pages of a list.
const pagesMost = 10_000

// Dial connects to a server and finds its era.
func Dial(ctx context.Context, name string, spec *v1.Server, o DialOptions) (*Conn, error) {
	s := upstream.Open(spec, upstream.Options{Name: name, Version: o.Version, Log: o.Log, Guard: o.Guard, Confine: o.Confine, Launch: o.Launch})
	p, err := s.Peer(ctx)
	if err != nil {
		s.Close()
		return nil, err
	}
	return &Conn{server: s, peer: p}, nil
}

// Check tells why a stdio server could not be started, as far as that can be known without starting it.
func Check(name string, spec *v1.Server, o DialOptions) error {
	return upstream.Check(spec, upstream.Options{Name: name, Log: o.Log, Confine: o.Confine, Launch: o.Launch})
}

// ReasonOf is what the server itself said of a refusal by HTTP status, if anything.
func ReasonOf(err error) string {
	reason, _ := errors.AsType[upstream.Reason](err)
	return string(reason)
}

// Info tells the server's name and version, and the protocol version spoken with it.
func (c *Conn) Info() (name, version, protocol string) {
	var info struct {
		Name    string `json:"name"`
		Version string `json:"version"`
	}
	if err := json.Unmarshal(c.peer.Info, &info); err != nil {
		return "", "", c.peer.Version // it said nothing of itself
	}
	return info.Name, info.Version, c.peer.Version
}

// Era is that of the server: modern or legacy.
func (c *Conn) Era() string {
	if c.peer.Modern {
		return "modern"
	}
	return "legacy"
}

// Offers tells whether the server says that it has a capability: tools, prompts, resources.
func (c *Conn) Offers(capability string) bool {
	has, _ := mcp.Lookup(c.peer.Capabilities, mcp.Span{End: int32(len(c.peer.Capabilities))}, capability)
	return has.Present()
}

// Close ends the connection.
func (c *Conn) Close() { c.server.Close() }

// List follows all pages of a list.
func (c *Conn) List(ctx context.Context, m mcp.Method) ([]json.RawMessage, error) {
	var all []json.RawMessage
	params := []byte("{}")
	for range pagesMost {
		result, err := c.Do(ctx, m, params, nil)
		if err != nil {
			return nil, err
		}
		top := mcp.Span{End: int32(len(result))}
		list, e := mcp.Lookup(result, top, m.Facts().ListKey.String())
		if e != nil || !list.Present() {
			return nil, errs.E("server", errs.Protocol, "answers %s without the array %q", m, m.Facts().ListKey.String())
		}
		mcp.Elements(result, list.Span, func(s mcp.Span) bool {
			all = append(all, json.RawMessage(s.Of(result)))
			return true
		})
		next, _ := mcp.Lookup(result, top, "nextCursor")
		if !next.Present() || string(next.Of(result)) == "null" {
			return all, nil
		}
		params = append(append([]byte(`{"cursor":`), next.Of(result)...), '}')
	}
	return nil, errs.E("server", errs.Protocol, "%s does not end", m)
}

// Mirrored finds the arguments of a tool that a modern HTTP server wants in headers as well (streamable-http "Mcp-Param").
func (c *Conn) Mirrored(ctx context.Context, tool []byte) ([]mcp.Param, error) {
	tools, err := c.List(ctx, mcp.MethodToolsList)
	if err != nil {
		return nil, err
	}
	for _, t := range tools {
		all := mcp.Span{End: int32(len(t))}
		name, _ := mcp.Lookup(t, all, "name")
		text, _ := mcp.Text(t, name.Span, nil)
		if !bytes.Equal(text, tool) {
			continue
		}
		schema, _ := mcp.Lookup(t, all, "inputSchema")
		if !schema.Present() {
			return nil, nil
		}
		params, err := mcp.Params(schema.Of(t))
		if err != nil {
			return nil, errs.E("server", errs.Protocol, "declares headers of the tool wrongly: %w", err)
		}
		return params, nil
	}
	return nil, nil // the server knows best what is wrong with the name
}

// Do sends one request; params is a raw JSON object. An error that the server answers is a *mcp.Error.
// notify gets the notifications that come before the answer.
func (c *Conn) Do(ctx context.Context, m mcp.Method, params []byte, notify func([]byte)) ([]byte, error) {
	var in, out mcp.Raw
	in.Body = append(append([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+m.String()+`","params":`), params...), '}')
	if e := in.Scan(mcp.Limits{}); e != nil {
		return nil, e
	}
	call := upstream.Call{In: &in, Client: &upstream.Client{}}
	if key := m.Facts().NameKey; key != mcp.KeyNone {
		call.Name, _ = mcp.Text(in.Body, in.Get(key), nil)
	}
	if m == mcp.MethodToolsCall && c.peer.Modern && c.server.HTTP() {
		var err error
		if call.Params, err = c.Mirrored(ctx, call.Name); err != nil {
			return nil, err
		}
	}
	if notify != nil {
		call.Notify = func(n *mcp.Raw) { notify(n.Append(nil)) }
	}
	defer out.Free()
	if err := c.server.Do(ctx, &call, &out); err != nil {
		return nil, err
	}
	if out.Kind == mcp.KindError {
		text, _ := mcp.Text(out.Body, out.Get(mcp.KeyMessage), nil)
		return nil, &mcp.Error{Code: out.ErrorCode, Message: string(text), Data: append([]byte(nil), out.Get(mcp.KeyData).Of(out.Body)...)}
	}
	return append([]byte(nil), out.Payload.Of(out.Body)...), nil
}
