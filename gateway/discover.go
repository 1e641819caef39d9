package gateway

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/policy"
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
	if err := x.meter(ctx); err != nil {
		return nil, err
	}
	if x.at.set != nil {
		return g.describeSet(ctx, x), nil
	}
	if x.at.own == nil {
		return &Description{Capabilities: allCapabilities, Info: g.info, tasks: x.at.tasked(ctx, x.view)}, nil
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
	d := &Description{Capabilities: x.carried(p), Info: p.Info, Instructions: p.Instructions, tasks: p.HasTasks()}
	if d.Info == nil {
		d.Info = g.info
	}
	return d, nil
}

// describeSet tells what a toolset offers: what any of its servers does of which it holds something. A server that is not up
// soon may offer everything. Its servers' own instructions are not told: they speak of names and tools that may not be here.
func (g *Gateway) describeSet(ctx context.Context, x *Exchange) *Description {
	peers, lists := x.at.peers(ctx, x.view), x.at.seenLists(x.view)
	d := &Description{Capabilities: united(peers, lists, !x.at.joined()), Info: mcp.AppendString([]byte(`{"name":`), x.at.set.Name)}
	d.tasks = lists&upstream.ListTools != 0 && slices.ContainsFunc(peers, func(p *upstream.Peer) bool { return p == nil || p.HasTasks() })
	if title := x.at.set.Spec.Title; title != "" {
		d.Info = mcp.AppendString(append(d.Info, `,"title":`...), title)
	}
	d.Info = append(mcp.AppendString(append(d.Info, `,"version":`...), g.o.Version), '}')
	if text := x.at.set.Spec.Instructions; text != "" {
		d.Instructions = mcp.AppendString(nil, text)
	}
	return d
}

// united are the capabilities that any of some servers has, as far as their lists show; a nil one may have all. Changes of lists
// are told in any case: the gateway sees them, at the latest when servers come and go. Apps need a server of their own.
func united(peers []*upstream.Peer, lists upstream.Lists, alone bool) []byte {
	has := func(name string) bool {
		return slices.ContainsFunc(peers, func(p *upstream.Peer) bool { return p == nil || declares(p.Capabilities, name) })
	}
	const changes = `"listChanged":true`
	resources := changes
	if slices.ContainsFunc(peers, func(p *upstream.Peer) bool {
		return p == nil || len(p.Capabilities) == 0 || strings.Contains(notices(p.Capabilities, "resources"), "subscribe")
	}) {
		resources += `,"subscribe":true`
	}
	b := []byte{'{'}
	for _, c := range [...]struct {
		name, members string
		of            upstream.Lists // that must show for it
	}{
		{"tools", changes, upstream.ListTools},
		{"prompts", changes, upstream.ListPrompts},
		{"resources", resources, upstream.ListResources},
		{"completions", "", upstream.ListPrompts | upstream.ListResources},
		{"logging", "", upstream.AllLists},
	} {
		if lists&c.of != 0 && has(c.name) {
			b = append(append(append(b, `"`+c.name+`":{`...), c.members...), "},"...)
		}
	}
	if alone && len(peers) == 1 && peers[0] != nil {
		b = appendUI(b, peers[0].Capabilities)
	}
	return append(bytes.TrimSuffix(b, []byte{','}), '}')
}

// peers are what the servers of an endpoint that a caller may see say of themselves; nil for those that cannot be asked soon, or
// differ by caller.
func (e *endpoint) peers(ctx context.Context, v *policy.View) []*upstream.Peer {
	ctx, cancel := shortly(ctx)
	defer cancel()
	seen := e.seen(v)
	all := make([]*upstream.Peer, len(seen))
	var wg sync.WaitGroup
	for i, m := range seen {
		if m.family != nil && m.family.personal() {
			all[i] = m.family.peer.Load()
			continue
		}
		wg.Go(func() { all[i], _ = m.server.Peer(ctx) })
	}
	wg.Wait()
	return all
}

// kindNamed is the kind that a capability is about.
var kindNamed = map[string]policy.Kind{"tools": policy.KindTool, "prompts": policy.KindPrompt, "resources": policy.KindResource}

// carried are the server's capabilities, but for what is not carried to clients, or not for this one.
func (x *Exchange) carried(p *upstream.Peer) []byte {
	if len(p.Capabilities) == 0 {
		return allCapabilities
	}
	b := []byte{'{'}
	for _, name := range [...]string{"tools", "prompts", "resources", "completions", "logging"} {
		if declares(p.Capabilities, name) && x.at.sees(x.view, x.at.own, kindNamed[name]) {
			b = append(append(append(b, '"'), name...), `":{`...)
			b = append(append(b, notices(p.Capabilities, name)...), "},"...)
		}
	}
	b = appendUI(b, p.Capabilities)
	if len(b) > 1 {
		b = b[:len(b)-1]
	}
	return append(b, '}')
}

// appendUI appends what capabilities say of apps, and a comma.
func appendUI(b, capabilities []byte) []byte {
	if ui := at(at(capabilities, "extensions"), uiExtension); ui != nil {
		b = append(append(b, `"extensions":{"`+uiExtension+`":`...), ui...)
		b = append(b, "},"...)
	}
	return b
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
