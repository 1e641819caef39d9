package gateway

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// Description is what an endpoint says of itself; every field is raw JSON.
type Description struct {
	Capabilities, Info []byte
	// Instructions is nil when there are none.
	Instructions []byte

	tasks bool // it has tasks, which each era declares in its own way
}

// all that the aggregated endpoint can do, whether or not a server has any of it at the moment. Changes of lists are told even
// where a server does not tell them: the gateway sees them, when servers come and go at the latest.
var allCapabilities = []byte(`{"tools":{"listChanged":true},"prompts":{"listChanged":true},"resources":{"listChanged":true,"subscribe":true},` +
	`"completions":{},"logging":{}}`)

// uiExtension needs nothing but resources and _meta, which pass.
const uiExtension = "io.modelcontextprotocol/ui"

// Describe tells what the endpoint of the exchange offers: the gateway itself, or the one server, which is waited for.
func (g *Gateway) Describe(ctx context.Context, x *Exchange) (*Description, error) {
	if x.at.own == nil {
		return &Description{Capabilities: allCapabilities, Info: g.info, tasks: x.at.tasked(ctx)}, nil
	}
	m := x.at.own
	ctx, cancel := context.WithTimeout(ctx, time.Duration(m.Spec.Timeouts.Start))
	defer cancel()
	p, err := m.peerFor(ctx, x.who())
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return nil, errs.E(`server "`+m.Name+`"`, errs.Timeout, "is not up after %s; raise timeouts.start if it needs longer", time.Duration(m.Spec.Timeouts.Start))
	}
	if err != nil {
		return nil, err
	}
	d := &Description{Capabilities: carried(p), Info: p.Info, Instructions: p.Instructions, tasks: p.HasTasks()}
	if d.Info == nil {
		d.Info = g.info
	}
	return d, nil
}

// carried are the server's capabilities, but for what is not carried to clients.
func carried(p *upstream.Peer) []byte {
	if len(p.Capabilities) == 0 {
		return allCapabilities
	}
	b := []byte{'{'}
	for _, name := range [...]string{"tools", "prompts", "resources", "completions", "logging"} {
		if declares(p.Capabilities, name) {
			b = append(append(append(b, '"'), name...), `":{`...)
			b = append(append(b, notices(p.Capabilities, name)...), "},"...)
		}
	}
	if ext, err := mcp.Lookup(p.Capabilities, mcp.Span{End: int32(len(p.Capabilities))}, "extensions"); err == nil && ext.Present() {
		if ui, err := mcp.Lookup(p.Capabilities, ext.Span, uiExtension); err == nil && ui.Present() {
			b = append(append(b, `"extensions":{"`+uiExtension+`":`...), ui.Of(p.Capabilities)...)
			b = append(b, "},"...)
		}
	}
	if len(b) > 1 {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

// notices are the members of a capability that say what changes are told.
func notices(capabilities []byte, name string) string {
	whole := mcp.Span{End: int32(len(capabilities))}
	of, err := mcp.Lookup(capabilities, whole, name)
	if err != nil || !of.Present() || capabilities[of.Start] != '{' || name == "completions" || name == "logging" {
		return ""
	}
	var on []string
	for _, member := range [...]string{"listChanged", "subscribe"} {
		if f, err := mcp.Lookup(capabilities, of.Span, member); err == nil && string(f.Of(capabilities)) == "true" {
			on = append(on, `"`+member+`":true`)
		}
	}
	return strings.Join(on, ",")
}

// discover answers server/discover for the endpoint.
func discover(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	if x.In.Method != mcp.MethodDiscover {
		return false, nil
	}
	d, err := g.Describe(ctx, x)
	if err != nil {
		return false, err
	}
	b := []byte(`{"resultType":"complete","ttlMs":5000,"cacheScope":"private","supportedVersions":[`)
	for i, v := range mcp.AllVersions() {
		if i > 0 {
			b = append(b, ',')
		}
		b = mcp.AppendString(b, v)
	}
	b = append(append(b, `],"capabilities":`...), d.ForModern()...)
	if d.Instructions != nil {
		b = append(append(b, `,"instructions":`...), d.Instructions...)
	}
	b = append(append(b, `,"_meta":{"io.modelcontextprotocol/serverInfo":`...), d.Info...)
	b = append(b, "}}"...)
	return true, x.Answer(b)
}

// Answer makes a result that the gateway wrote itself the answer of the exchange.
func (x *Exchange) Answer(result []byte) error {
	x.Out.Body = mcp.AppendResult(nil, x.In.ID.Of(x.In.Body), result)
	if e := x.Out.Scan(mcp.Limits{Bytes: len(x.Out.Body), Depth: 1 << 20}); e != nil {
		return errs.E("gateway", errs.Internal, "answer is not valid: %w", e)
	}
	return nil
}
