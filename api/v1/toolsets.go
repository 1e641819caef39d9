package v1

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// MaxToolsets is how many toolsets a configuration may hold.
const MaxToolsets = 1000

// toolsets checks each selection against the names that its servers can have.
func (k *checker) toolsets(c *Config) {
	if n := len(c.Toolsets); n > MaxToolsets {
		k.fail("toolsets", "has %d toolsets; at most %d are allowed", n, MaxToolsets)
		return
	}
	for _, name := range slices.Sorted(maps.Keys(c.Toolsets)) {
		path := childPath("toolsets", name)
		if why := badServerName(name); why != "" {
			k.fail(path, "%s; toolset names have 1 to 64 printable characters and no slash", why)
		}
		if t := c.Toolsets[name]; t == nil || len(t.Servers) == 0 {
			k.fail(path+".servers", "names no server; name those whose tools, prompts and resources the toolset may hold")
		} else {
			k.toolset(c, path, t)
		}
	}
}

func (k *checker) toolset(c *Config, path string, t *Toolset) {
	known := len(k.problems)
	for i, server := range t.Servers {
		child := path + ".servers[" + strconv.Itoa(i) + "]"
		switch {
		case c.MCPServers[server] == nil:
			k.fail(child, "there is no server %q in mcpServers", clip(server))
		case slices.Contains(t.Servers[:i], server):
			k.fail(child, "names %q a second time", clip(server))
		}
	}
	if len(k.problems) > known {
		return // what else does not fit follows from it
	}
	for _, name := range slices.Sorted(maps.Keys(t.Tools)) {
		child := childPath(path+".tools", name)
		k.selected(c, t, child, "tool", name)
		tool := t.Tools[name]
		if tool.As != "" && IsPattern(name) {
			k.fail(child+".as", "is for a tool by its whole name, not for a pattern; remove it, or name the one tool")
		}
		k.arguments(child, &tool)
	}
	k.renamed(path, t)
	for i, name := range t.Prompts {
		k.selected(c, t, path+".prompts["+strconv.Itoa(i)+"]", "prompt", name)
	}
	for i, uri := range t.Resources {
		if uri == "" {
			k.fail(path+".resources["+strconv.Itoa(i)+"]", "is empty; write a URI or a pattern, or * for all")
		}
	}
}

// selected checks the name at /mcp, or the pattern, of a tool or prompt of the toolset's servers.
func (k *checker) selected(c *Config, t *Toolset, path, noun, name string) {
	switch {
	case name == "":
		k.fail(path, "is empty; write the name of a %s at /mcp or a pattern, or * for all", noun)
	case IsPattern(name):
		if !slices.ContainsFunc(t.Servers, func(s string) bool { return LikeBehind(name, c.PrefixOf(s)) }) {
			k.fail(path, "fits no %s of the toolset's servers, whose names begin with %s", noun, beginnings(c, t))
		}
	default:
		owner, own := c.OwnerOf(name)
		if owner == "" || !slices.Contains(t.Servers, owner) || own == "" {
			k.fail(path, "is no %s of the toolset's servers, whose names at /mcp begin with %s", noun, beginnings(c, t))
		}
	}
}

// OwnerOf returns the server that a name at /mcp leads to, disabled ones among
// them, and the server's own name for it; both are empty where no prefix fits.
func (c *Config) OwnerOf(name string) (owner, own string) {
	length := -1
	for server := range c.MCPServers {
		if p := c.PrefixOf(server); strings.HasPrefix(name, p) && len(p) > length {
			owner, own, length = server, name[len(p):], len(p)
		}
	}
	return owner, own
}

// beginnings are the prefixes of a toolset's servers, for messages.
func beginnings(c *Config, t *Toolset) string {
	const most = 5
	var all []string
	for i, s := range t.Servers {
		if i == most {
			all = append(all, "others")
			break
		}
		all = append(all, strconv.Quote(c.PrefixOf(s)))
	}
	return strings.Join(all, " or ")
}

// arguments checks what a toolset says of a tool's arguments.
func (k *checker) arguments(path string, t *ToolsetTool) {
	seen := map[string]string{} // by what some servers take for the same name
	argument := func(child, name string) {
		other, taken := seen[strings.ToLower(name)]
		switch _, fixed := t.Fix[name]; {
		case name == "":
			k.fail(child, "is empty; name an argument")
		case taken && other != name:
			k.fail(child, "%q differs only in case from %q; keep one of them", clip(name), clip(other))
		case taken && fixed:
			k.fail(child, "%q has a value under fix, and is not shown for that; keep one of the two", clip(name))
		case taken:
			k.fail(child, "names %q a second time", clip(name))
		}
		seen[strings.ToLower(name)] = name
	}
	for _, name := range slices.Sorted(maps.Keys(t.Fix)) {
		argument(childPath(path+".fix", name), name)
	}
	for i, name := range t.Hide {
		argument(path+".hide["+strconv.Itoa(i)+"]", name)
	}
}

// renamed refuses names that two tools of a toolset would have.
func (k *checker) renamed(path string, t *Toolset) {
	holders := map[string]string{}
	names := slices.Sorted(maps.Keys(t.Tools))
	for _, name := range names {
		if t.Tools[name].As == "" {
			holders[name] = name
		}
	}
	for _, name := range names {
		as := t.Tools[name].As
		if as == "" {
			continue
		}
		if other, taken := holders[as]; taken {
			k.fail(childPath(path+".tools", name)+".as", "%q is the name of %q here already; give one of them another", clip(as), clip(other))
		}
		holders[as] = name
	}
}

// idleToolsets warns of toolsets that serve nobody.
func (d *decoder) idleToolsets(c *Config) {
	for _, name := range slices.Sorted(maps.Keys(c.Toolsets)) {
		t, path := c.Toolsets[name], childPath("toolsets", name)
		if !slices.ContainsFunc(t.Servers, func(s string) bool { return !c.MCPServers[s].Disabled }) {
			d.warn(d.lineOf(path), path, "has no server that is not disabled, so that it shows nothing")
		}
	}
}
