package main

import (
	"fmt"
	"slices"
	"strings"
)

// aim is one line of a row: which target, and how the load addresses it.
type aim struct {
	label  string
	target string // see world.get
	path   string
	prefix string // of tool names there
	key    bool
	token  bool
}

// row is one table of the report: the same work through several targets.
type row struct {
	name  string // for -only
	title string
	era   era // of the client
	op    op
	size  int
	conns int // 0 = as many as -conns says
	aims  []aim
}

// plain are the targets that pass a request on as it is.
func plain(path string) []aim {
	return []aim{
		{label: "direct", target: "direct", path: path},
		{label: "bare", target: "bare", path: path},
		{label: "nginx", target: "nginx", path: path},
	}
}

// through are the ways through a gateway to one of its servers.
func through(target, server string) []aim {
	return []aim{
		{label: "gateway", target: target, path: "/servers/" + server + "/mcp"},
		{label: "gateway /mcp", target: target, path: "/mcp", prefix: server + "__"},
	}
}

func withKey(server string) aim {
	return aim{label: "gateway, API key", target: "key", path: "/servers/" + server + "/mcp", key: true}
}

func join(parts ...[]aim) []aim {
	var all []aim
	for _, p := range parts {
		all = append(all, p...)
	}
	return all
}

// rows are all tables. A gateway is compared with the bare proxy that serves
// the same client, which for a translating row means: a server of its own era.
func rows() []row {
	const mcp10, old10 = "/modern/10/mcp", "/legacy/10/mcp"
	big := func(n int) string { return fmt.Sprintf("/modern/%d/mcp", n) }
	return []row{
		{"call-mm", "tools/call, 64 bytes, modern → modern", modern, opEcho, 0, 0, join(plain(mcp10), through("calls", "modern"), []aim{withKey("modern")})},
		{"call-ll", "tools/call, 64 bytes, legacy → legacy", legacy, opEcho, 0, 0, join(plain(old10), through("calls", "legacy"), []aim{withKey("legacy")})},
		{"call-lm", "tools/call, 64 bytes, legacy → modern", legacy, opEcho, 0, 0, join(plain(old10)[1:2], through("calls", "modern"))},
		{"call-ml", "tools/call, 64 bytes, modern → legacy", modern, opEcho, 0, 0, join(plain(mcp10)[1:2], through("calls", "legacy"))},
		{"slow-mm", "tools/call that takes 5 ms, modern → modern", modern, opSleep, 5, 0, join(plain(mcp10), through("calls", "modern"))},
		{"big-mm", "tools/call, 64 KiB answer, modern → modern", modern, opPayload, 64 << 10, 16, join(plain(mcp10), through("calls", "modern"))},
		{"big-ll", "tools/call, 64 KiB answer, legacy → legacy", legacy, opPayload, 64 << 10, 16, join(plain(old10), through("calls", "legacy"))},
		{"list100-mm", "tools/list, 100 tools, modern → modern", modern, opList, 100, 16, join(plain(big(100)), through("single", "modern")[:1],
			[]aim{{label: "gateway /mcp", target: "four", path: "/mcp"}})},
		{"list100-ll", "tools/list, 100 tools, legacy → legacy", legacy, opList, 100, 16, join(plain("/legacy/100/mcp"), through("single", "legacy")[:1],
			[]aim{{label: "gateway /mcp", target: "four", path: "/mcp"}})},
		{"list2500-mm", "tools/list, 2,500 tools, modern → modern", modern, opList, 2500, 4, join(plain(big(2500)), through("long", "modern")[:1])},
		{"list2500-ll", "tools/list, 2,500 tools, legacy → legacy", legacy, opList, 2500, 4, join(plain("/legacy/2500/mcp"), through("long", "legacy")[:1])},
		{"list1000", "tools/list, 1,000 tools (gateway: of 100 servers)", modern, opList, 1000, 4, join(plain(big(1000)),
			[]aim{{label: "gateway /mcp", target: "many", path: "/mcp"}})},
	}
}

// allRows are those over HTTP, those about access and those over stdio.
func allRows() []row { return slices.Concat(rows(), accessRows(), tracedRows(), stdioRows()) }

// stdioRows are the gateway and its peers as a bridge to a process. The bare
// proxy stands before the same server over HTTP.
func stdioRows() []row {
	const big = 64 << 10
	bare := func(e era) []aim { return plain(fmt.Sprintf("/%s/10/mcp", e))[1:2] }
	mm := join(bare(modern), through("stdio", "modern"))
	ll := join(bare(legacy), through("stdio", "legacy"), []aim{
		{label: "gateway run", target: "run", path: "/mcp"},
		{label: mcpProxy, target: mcpProxy, path: "/mcp"},
		{label: superGateway, target: superGateway, path: "/mcp"},
	})
	all := make([]row, 0, 8)
	all = append(all,
		row{"stdio-m20", "tools/call, 64 bytes, modern → stdio, modern (bare: HTTP)", modern, opEcho, 0, 20, mm},
		row{"stdiobig-m20", "tools/call, 64 KiB answer, modern → stdio, modern (bare: HTTP)", modern, opPayload, big, 20, mm})
	for _, clients := range []int{1, 20, 100} {
		small := fmt.Sprint("stdio-l", clients)
		if clients == 1 {
			small = "stdio1-l" // judged by itself: with one client, sleeping and waking dominate what any bridge costs
		}
		all = append(all,
			row{small, "tools/call, 64 bytes, legacy → stdio, legacy (bare: HTTP)", legacy, opEcho, 0, clients, ll},
			row{fmt.Sprint("stdiobig-l", clients), "tools/call, 64 KiB answer, legacy → stdio, legacy (bare: HTTP)", legacy, opPayload, big, clients, ll})
	}
	return all
}

// chosen tells whether -only asks for a name.
func chosen(only, name string) bool {
	if only == "" {
		return true
	}
	for part := range strings.SplitSeq(only, ",") {
		if part = strings.TrimSpace(part); part != "" && strings.HasPrefix(name, part) {
			return true
		}
	}
	return false
}

func (a aim) endpoint(w *world, t *target, r row) endpoint {
	e := endpoint{Addr: t.addr, Path: a.path, Era: r.era, Op: r.op, Tool: a.prefix + string(r.op), Size: r.size}
	if a.key {
		e.Key = w.key
	}
	if a.token {
		e.Key = w.token
	}
	return e
}
