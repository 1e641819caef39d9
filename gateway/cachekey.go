package gateway

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/mcp"
)

// lookup looks for the answer to an exchange; ok tells whether there may be one.
func (g *Gateway) lookup(ctx context.Context, x *Exchange) (l lookup, ok bool, err error) {
	if x.member == nil || x.member.kept == nil {
		return l, false, nil
	}
	if l.k = x.member.kept.Load(); l.k == nil {
		return l, false, nil
	}
	if l.name, l.ttl, ok = l.k.about(x); !ok || x.continues() {
		return l, false, nil
	}
	if l.name.Kind == cache.Tool {
		if ok, err = g.readsOnly(ctx, x); !ok || err != nil {
			return l, false, err
		}
	}
	h := cache.On(x.hashing)
	x.essence(&h, l.k)
	everybody := h.Sum()
	x.context(&h)
	l.private = h.Sum()
	x.hashing = h.Parts()
	if l.k.public {
		l.key = everybody
		if l.answer, l.pass = g.cache.Get(everybody); l.answer != nil || !l.pass {
			return l, true, nil
		}
	}
	l.key = l.private
	l.answer, l.pass = g.cache.Get(l.private)
	return l, true, nil
}

// continues tells whether an exchange goes on with something, so that what it is answered is for it alone.
func (x *Exchange) continues() bool {
	return x.about != nil || x.rounds > 0 || x.call.Resume != 0 || len(x.answers) > 0 || x.state != nil ||
		x.In.Get(mcp.KeyRequestState).Present() || x.In.Get(mcp.KeyInputResponses).Present() || x.In.Get(mcp.KeyTask).Present()
}

// about is what an exchange asks for, where that may be kept, and for how long where the server does not say.
func (k *keeping) about(x *Exchange) (n cache.Name, ttl time.Duration, ok bool) {
	switch x.In.Method {
	case mcp.MethodResourcesRead:
		return cache.Name{Kind: cache.Resource, Name: string(x.name)}, time.Duration(k.spec.Resources), true
	case mcp.MethodPromptsGet:
		ttl = time.Duration(k.spec.Prompts)
		n.Kind = cache.Prompt
	case mcp.MethodToolsCall:
		ttl = k.tools.of(x.name)
		n.Kind = cache.Tool
	}
	if ttl <= 0 {
		return n, 0, false
	}
	n.Name = string(x.name)
	return n, ttl, true
}

// readsOnly tells whether results of the tool that is called may be kept. Of one that the server lists: only its definition tells
// what the tool does, who may call it, and which headers go with it. Those are checked here, since a hit asks nobody else.
func (g *Gateway) readsOnly(ctx context.Context, x *Exchange) (bool, error) {
	lister := x.member.lister()
	if lister.catalog.facts.Load() == nil {
		if _, err := g.lists(x.noting(ctx), lister, mcp.MethodToolsList); err != nil {
			return false, err
		}
	}
	facts := lister.catalog.tool(x.name)
	if facts == nil || facts.app && x.at.joined() {
		return false, nil
	}
	if facts.mutates {
		g.warnOnce("results of a tool are not kept, although mcpServers.*.tools.*.cache says so", x.member.Name, string(x.name),
			"the server says that it changes something (readOnlyHint: false or destructiveHint: true)")
		return false, nil
	}
	if x.Client.Modern {
		if err := x.mirror(facts.params, false); err != nil {
			return false, err
		}
	}
	x.tool = g.metric(x.member, facts)
	return true, nil
}

// essence adds what the answer depends on, whoever asks: of which server what is asked, with which parameters, in which dialect, and
// what goes with it.
func (x *Exchange) essence(h *cache.Hash, k *keeping) {
	h.AddNumber(k.id)
	h.AddNumber(uint64(x.In.Method))
	h.Add(x.name)
	x.parametersOf(h)
	if x.Client.Modern {
		h.AddText("modern")
	} else { // what a modern client says of itself stands in the parameters
		h.AddText("legacy")
		h.Add(x.Client.Info)
		h.Add(x.Client.Capabilities)
		h.AddText(x.Client.LogLevel)
	}
	addMirrors(h, x.Header)
	if k.by != "" { // it chooses the instance, and those may differ
		h.AddList(x.Header[k.by])
	}
}

// parametersOf adds the parameters as they were sent, but for the name, which may be shown otherwise here, and what only relates a
// request to others: where its progress is told, and its trace.
func (x *Exchange) parametersOf(h *cache.Hash) {
	in := &x.In
	subject := mcp.KeyName
	if in.Method == mcp.MethodResourcesRead {
		subject = mcp.KeyURI
	}
	var holes [4]mcp.Span
	n := 0
	for _, s := range [...]mcp.Span{
		in.Get(subject), in.GetMeta(mcp.MetaProgressToken), in.GetMeta(mcp.MetaTraceparent), in.GetMeta(mcp.MetaTracestate),
	} {
		if s.Present() {
			holes[n] = s
			n++
		}
	}
	slices.SortFunc(holes[:n], func(a, b mcp.Span) int { return int(a.Start - b.Start) })
	at := in.Payload.Start
	h.AddNumber(uint64(n))
	for _, s := range holes[:n] {
		h.Add(in.Body[at:s.Start])
		at = s.End
	}
	h.Add(in.Body[at:max(at, in.Payload.End)])
}

// addMirrors adds the headers that may go on to the server.
func addMirrors(h *cache.Hash, header http.Header) {
	var few [8]string
	names := few[:0]
	for name := range header {
		if strings.HasPrefix(name, "Mcp-Param-") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	h.AddNumber(uint64(len(names)))
	for _, name := range names {
		h.AddText(name)
		h.AddList(header[name])
	}
}

// context adds who asks, and within what the server answers.
func (x *Exchange) context(h *cache.Hash) {
	var room [256]byte
	h.AddText("private")
	h.Add(x.Principal.AppendContext(room[:0]))
	h.AddText(x.caller())              // whose session it is at the server
	if x.member.Spec.Identity != nil { // it is told what may change of whoever holds a credential
		h.Add(x.Principal.Encode())
	}
	key := x.held.key
	if f := x.member.family; f != nil { // its instance could not be had
		key = f.keyOf(x.who())
	}
	h.AddText(key.Name)
	h.AddText(key.Tenant)
	if x.member.Spec.ForwardToken {
		h.AddText(forwarded(x.member.Server, x.who()))
	}
}
