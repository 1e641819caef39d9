package v1_test

import (
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

func TestMemoryBound(t *testing.T) {
	for _, tt := range []struct {
		text string
		want int64
	}{
		{"80%", 800 << 20}, {"1%", 10 << 20}, {"100%", 1000 << 20}, {"off", 0}, {"16Mi", 16 << 20}, {"20MB", 20e6}, {"67108864", 64 << 20},
	} {
		c, problems := parse("overload: {memory: '" + tt.text + "'}")
		if problems != nil {
			t.Errorf("%s: %v", tt.text, problems)
			continue
		}
		if got := c.Overload.MemoryBound(1000 << 20); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.text, got, tt.want)
		}
	}
	for text, want := range map[string]string{
		"0":  "is not 1% to 100%, a size like 2Gi, or off",
		"0%": "is not 1% to 100%, a size like 2Gi, or off", "101%": "is not 1% to 100%, a size like 2Gi, or off", "-1Mi": "is not 1% to 100%, a size like 2Gi, or off", "lots": "is not 1% to 100%, a size like 2Gi, or off",
		"1": "less than 16Mi", "16383Ki": "less than 16Mi", "99999999999999999999G": "is more than",
	} {
		if _, problems := parse("overload: {memory: '" + text + "'}"); problems == nil || !strings.Contains(problems.Error(), want) {
			t.Errorf("%s: %v, want %q", text, problems, want)
		}
	}
}

func TestConcurrencyBound(t *testing.T) {
	for _, tt := range []struct {
		set          int
		memory, want int64
	}{{0, 0, 20_000}, {0, 1 << 20, 256}, {0, 64 << 20, 1024}, {0, 1 << 40, 20_000}, {7, 1 << 40, 7}, {100_000, 0, 100_000}} {
		o := v1.Overload{Concurrency: tt.set}
		if got := o.ConcurrencyBound(tt.memory); got != tt.want {
			t.Errorf("%d with %d bytes: %d, want %d", tt.set, tt.memory, got, tt.want)
		}
	}
}

// What reads like a bound and is none is refused, and who is nobody is warned of.
func TestOverloadMistakes(t *testing.T) {
	const keys = "auth: {apiKeys: [{name: a, key: a-key-that-is-long-enough-1, tenant: acme}]}\n"
	for text, want := range map[string]string{
		"overload: {memory: 0}":      "overload.memory: is a number; must be 1% to 100%, a size like 2Gi, or off",
		"overload: {memory: true}":   "overload.memory: is true or false; must be 1% to 100%, a size like 2Gi, or off",
		"overload: {concurrency: 0}": "overload.concurrency: is 0; write 1 to 1000000, or leave it out",
	} {
		if _, problems := parse(text); problems == nil || !strings.Contains(problems.Error(), want) || len(problems) > 1 {
			t.Errorf("%s: %v, want %q", text, problems, want)
		}
	}
	for text, want := range map[string]string{
		keys + "overload: {bulk: {tenants: [acme, default, nightly]}}":                                            `overload.bulk.tenants[2]: "nightly" is no tenant that the configuration names`,
		"overload: {bulk: {tools: [search__x]}}":                                                                  `overload.bulk.tools[0]: "search__x" fits no tool of mcpServers`,
		"overload: {bulk: {tools: ['*']}}":                                                                        `overload.bulk.tools[0]: "*" fits no tool of mcpServers`,
		"mcpServers: {search: {url: 'http://127.0.0.1:1/mcp'}}\noverload: {bulk: {tools: ['search__re*', '*x']}}": "",
		"overload: {bulk: {groups: [crawlers]}}":                                                                  `overload.bulk.groups[0]: "crawlers" is a group that nobody is in`,
		keys + "overload: {bulk: {groups: [crawlers]}}":                                                           "",
	} {
		c, problems := parse(text)
		if problems != nil {
			t.Fatalf("%s: %v", text, problems)
		}
		var bulk []string
		for _, w := range c.Warnings {
			if strings.Contains(w, "bulk") {
				bulk = append(bulk, w)
			}
		}
		if got := strings.Join(bulk, "\n"); (got == "") != (want == "") || !strings.Contains(got, want) || len(bulk) > 1 {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
