package system_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/mcp"
)

// catalogue is what a server of the random tests has; each of its elements answers with the server's name and its own.
type catalogue struct{ tools, prompts, uris []string }

// oddNames are names that could be taken for others.
var oddNames = []string{"find", "read", "a__find", "b__read", "__find", "x", "a__", "b__a__x", "f.nd", "find-all", "é\"", "X"}

func randomCatalogue(rnd *rand.Rand) (c catalogue) {
	some := func(all []string) (out []string) {
		for _, s := range all {
			if rnd.IntN(2) == 0 {
				out = append(out, s)
			}
		}
		return out
	}
	c.tools, c.prompts = some(oddNames), some(oddNames)
	c.uris = some([]string{"mem://a/1", "mem://a/2", "mem://b/1", "file:///x", "mem://a"})
	return c
}

func (c catalogue) server(t *testing.T, k kind, name string) *testenv.Server {
	t.Helper()
	who := func(c *testenv.Call, param string) string {
		text, _ := mcp.Text([]byte(c.Param(param)), mcp.Span{End: int32(len(c.Param(param)))}, nil)
		return name + " " + string(text)
	}
	s := testenv.Script{On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) { c.Text(who(c, "name")) },
		"prompts/get": func(c *testenv.Call) {
			c.Complete(`"content":[{"text":` + string(mcp.AppendString(nil, who(c, "name"))) + `}]`)
		},
		"resources/read": func(r *testenv.Call) {
			text := who(r, "uri")
			if !slices.Contains(c.uris, strings.TrimPrefix(text, name+" ")) {
				r.Error(-32602, "no such resource")
				return
			}
			r.Complete(`"ttlMs":0,"cacheScope":"private","content":[{"text":` + string(mcp.AppendString(nil, text)) + `}]`)
		},
	}}
	for _, n := range c.tools {
		own := string(mcp.AppendString(nil, n))
		s.Tools = append(s.Tools, `{"name":`+own+`,"title":`+string(mcp.AppendString(nil, name+" "+n))+`,"inputSchema":{"type":"object"}}`)
	}
	for _, n := range c.prompts {
		s.Prompts = append(s.Prompts, `{"name":`+string(mcp.AppendString(nil, n))+`,"title":`+string(mcp.AppendString(nil, name+" "+n))+`}`)
	}
	for _, u := range c.uris {
		s.Resources = append(s.Resources, `{"uri":"`+u+`","name":"n","title":"`+name+" "+u+`"}`)
	}
	return k.server(t, s)
}

// randomSets are toolsets over the servers a, b and plain, whose names have no prefix.
func randomSets(rnd *rand.Rand, all map[string]catalogue) map[string]any {
	sets := map[string]any{}
	for i := range 6 {
		servers := []string{"a", "b", "plain"}
		rnd.Shuffle(len(servers), func(i, j int) { servers[i], servers[j] = servers[j], servers[i] })
		servers = servers[:1+rnd.IntN(3)]
		one := map[string]any{"servers": servers}
		tools, given := map[string]any{}, map[string]bool{}
		for _, s := range servers {
			prefix := prefixOf(s)
			for _, n := range all[s].tools {
				if prefix == "" && strings.Contains(n, "__") || rnd.IntN(3) > 0 {
					continue // the file does not take a name that leads elsewhere
				}
				entry := map[string]any{}
				if as := []string{"find", "a__find", "read", "x", "new"}[rnd.IntN(5)]; rnd.IntN(2) == 0 && !given[as] {
					entry["as"], given[as] = as, true
				} else if given[prefix+n] {
					continue
				}
				given[prefix+n] = given[prefix+n] || entry["as"] == nil
				tools[prefix+n] = entry
			}
			if rnd.IntN(3) == 0 {
				tools[prefix+[]string{"f*", "*", "*x", "a*"}[rnd.IntN(4)]] = map[string]any{}
			}
		}
		if rnd.IntN(4) > 0 {
			one["tools"] = tools
		}
		if rnd.IntN(2) == 0 {
			one["prompts"] = []string{prefixOf(servers[0]) + "*", "*x"}[:rnd.IntN(3)]
		}
		if rnd.IntN(2) == 0 {
			one["resources"] = []string{"mem://a/*", "file:///x"}[:rnd.IntN(3)]
		}
		sets[fmt.Sprint("set", i)] = one
	}
	return sets
}

func prefixOf(server string) string {
	if server == "plain" {
		return ""
	}
	return server + "__"
}

// TestToolsetListedIsCallable: whatever the servers have and the toolsets hold, an element that is listed can be had under its
// name and is the one that it says, no two have one name, and nothing else can be had.
func TestToolsetListedIsCallable(t *testing.T) {
	t.Parallel()
	for seed := range uint64(8) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			rnd := rand.New(rand.NewPCG(seed, 5))
			all := map[string]catalogue{}
			entries, servers := map[string]any{}, map[string]*testenv.Server{}
			candidates := map[string][]string{"tools": {"new", "nothing", "__", "a__", "set0"}, "prompts": {"nothing"}, "resources": {"mem://none", "mem://a/../b/1"}}
			for i, name := range []string{"a", "b", "plain"} {
				all[name] = randomCatalogue(rnd)
				servers[name] = all[name].server(t, kinds[(int(seed)+i)%len(kinds)], name)
				for _, p := range []string{"", "a__", "b__"} {
					for _, n := range oddNames {
						candidates["tools"], candidates["prompts"] = append(candidates["tools"], p+n), append(candidates["prompts"], p+n)
					}
				}
				candidates["resources"] = append(candidates["resources"], all[name].uris...)
			}
			plain := servers["plain"].Entry()
			plain["prefix"] = ""
			entries["plain"] = plain
			sets := randomSets(rnd, all)
			g := testenv.Serve(t, testenv.Config{Servers: servers, Entries: entries, More: map[string]any{"toolsets": sets}})
			for name := range sets {
				client := g.Client(testenv.Eras[rnd.IntN(2)], "/toolsets/"+name+"/mcp")
				for _, k := range [][3]string{{"tools", "tools/call", "name"}, {"prompts", "prompts/get", "name"}, {"resources", "resources/read", "uri"}} {
					listedIsCallable(t, client, sets[name], k[0], k[1], k[2], candidates[k[0]])
				}
			}
		})
	}
}

func listedIsCallable(t *testing.T, client *testenv.Client, set any, list, method, param string, candidates []string) {
	t.Helper()
	r := client.Call(list+"/list", "")
	names := r.Names(list)
	titles := r.Titles(list)
	listed := map[string]string{}
	for i, n := range names {
		if _, twice := listed[n]; twice {
			t.Errorf("%v lists %q twice", set, n)
		}
		listed[n] = titles[i]
	}
	for _, n := range slices.Compact(slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(listed)), candidates...)))) {
		got := client.Call(method, `"`+param+`":`+string(mcp.AppendString(nil, n)))
		if title, ok := listed[n]; ok != (got.Result() != nil) || ok && got.Texts() != title {
			t.Errorf("%v at %s lists %q: %v (%q), but: %v", set, client.URL, n, ok, title, got)
		}
	}
}
