package v1

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const tooManyServers = "has %d servers; at most %d are allowed"

func (k *checker) servers(c *Config) {
	for name, s := range c.MCPServers {
		path := childPath("mcpServers", name)
		if why := badServerName(name); why != "" {
			k.fail(path, "%s; server names have 1 to 64 printable characters and no slash", why)
		}
		if s == nil {
			k.fail(path, "has none of command, package and url; one is needed")
		} else if !s.Disabled {
			k.server(path, s)
			k.isolation(c, name)
			k.balanced(path, s)
			k.tenants(path, s)
			k.toolSettings(path+".tools", s)
			k.timeouts(path, s)
			k.fallback(c, path, name)
			k.cached(c, path, name)
			if s.URL == "" {
				k.launch(&c.Launch, path, s)
			}
		}
	}
	k.prefixes(c)
}

func badServerName(name string) string {
	switch {
	case name == "":
		return "has an empty name"
	case utf8.RuneCountInString(name) > 64:
		return "has too long a name"
	case strings.Contains(name, "/"):
		return "has a slash in its name"
	case name == "." || name == "..":
		return "has a name that a URL's path cannot hold"
	case !printable(name) || strings.TrimSpace(name) != name:
		return "has spaces around its name, or characters that cannot be printed"
	}
	return ""
}

func (k *checker) server(path string, s *Server) {
	switch {
	case s.Command != "" && s.URL != "":
		k.fail(path, "has command and url; keep the one that reaches the server")
	case s.Package != "" && (s.Command != "" || s.URL != ""):
		k.fail(path, "has a package, and a command or url besides; keep the one that reaches the server")
	case s.Command == "" && s.URL == "" && s.Package == "":
		k.fail(path, "has none of command, package and url; one is needed")
	case s.Package != "":
		k.pkg(path, s)
		k.started(path, s)
	case s.Command != "":
		k.command(path, s)
		k.started(path, s)
	default:
		k.remote(path, s)
	}
}

func (k *checker) command(path string, s *Server) {
	if s.Type == TypeHTTP || s.Type == TypeSSE {
		k.fail(path+".type", "is %s, but the server has a command; write url instead, or type: stdio", s.Type)
	}
	if strings.TrimSpace(s.Command) == "" {
		k.fail(path+".command", "is blank; name a program")
	}
	if IsPackage(s.Command) {
		k.fail(path+".command", "%q is the reference of a package; give it as package, not as command", clip(s.Command))
	}
	k.noNUL(path+".command", s.Command)
}

// started checks what every process is given.
func (k *checker) started(path string, s *Server) {
	k.noNUL(path+".cwd", s.Cwd)
	for i, arg := range s.Args {
		k.noNUL(path+".args["+strconv.Itoa(i)+"]", arg)
	}
	for name, value := range s.Env {
		child := childPath(path+".env", name)
		if name == "" || strings.ContainsAny(name, "=\x00") {
			k.fail(child, "is not the name of an environment variable")
		}
		k.noNUL(child, value)
	}
	k.confined(path, s)
	if len(s.Headers) > 0 {
		k.fail(path+".headers", "are for servers with a url; give a command its settings under env")
	}
}

func (k *checker) noNUL(path, text string) {
	if strings.ContainsRune(text, 0) {
		k.fail(path, "holds a NUL character, which no process can be given")
	}
}

func (k *checker) remote(path string, s *Server) {
	if s.Type == TypeStdio {
		k.fail(path+".type", "is stdio, but the server has a url; write command instead, or type: http")
	}
	if len(s.URLs) == 0 || s.URL != s.URLs[0].URL {
		k.templateURL(path+".url", s.URL)
	}
	k.localOnly(path, s)
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(s.Headers)) {
		child := childPath(path+".headers", name)
		k.header(child, name, s.Headers[name])
		if other, ok := seen[strings.ToLower(name)]; ok {
			k.fail(child, "is the same header as %q; keep one", clip(other))
		}
		seen[strings.ToLower(name)] = name
	}
}

// localOnly refuses what only a server with a command can have.
func (k *checker) localOnly(path string, s *Server) {
	var none Server
	none.SetDefaults()
	for _, local := range []struct {
		key string
		set bool
	}{
		{"args", len(s.Args) > 0},
		{"env", len(s.Env) > 0},
		{"cwd", s.Cwd != ""},
		{"resources", s.Resources != none.Resources},
		{"sandbox", s.Sandbox != nil},
		{"user", s.User != ""},
		{"restarts", s.Restarts != none.Restarts},
		{"liveness", s.Liveness != none.Liveness},
	} {
		if local.set {
			k.fail(path+"."+local.key, "is for servers with a command; this one has a url")
		}
	}
}

// ownHeaders are those that belong to the connection or the protocol.
var ownHeaders = []string{
	"accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
	"keep-alive", "last-event-id", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade",
}

// header checks a header (RFC 9110 sections 5.1 and 5.5). Its value is not
// shown.
func (k *checker) header(path, name, value string) {
	lower := strings.ToLower(name)
	switch {
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return !isTokenRune(r) }):
		k.fail(path, "is not the name of a header")
	case slices.Contains(ownHeaders, lower) || strings.HasPrefix(lower, "mcp-"):
		k.fail(path, "is set by the gateway itself; remove it")
	case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
		k.fail(path, "has a value with a line break or another control character, which no header can carry")
	case strings.Trim(value, " \t") != value:
		k.fail(path, "has a value with spaces around it; remove them")
	}
}

func isTokenRune(r rune) bool {
	return r > ' ' && r < 0x7f && !strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

// prefixes refuses names that could be of either of two servers: with the
// prefixes "a__" and "a__b__", whose tool is a__b__c?
func (k *checker) prefixes(c *Config) {
	names := c.ServerNames()
	slices.SortStableFunc(names, func(a, b string) int { return strings.Compare(c.PrefixOf(a), c.PrefixOf(b)) })
	bare := ""           // the server without a prefix
	var holders []string // servers whose prefixes begin the current one
	for _, name := range names {
		prefix := c.PrefixOf(name)
		if prefix == "" {
			if bare != "" {
				k.fail(childPath("mcpServers", name)+".prefix", "is empty, as that of %q is; one server may go without", clip(bare))
			}
			bare = name
			continue
		}
		for len(holders) > 0 && !strings.HasPrefix(prefix, c.PrefixOf(holders[len(holders)-1])) {
			holders = holders[:len(holders)-1]
		}
		if n := len(holders); n > 0 {
			k.ambiguous(c, holders[n-1], name)
		}
		holders = append(holders, name)
	}
}

func (k *checker) ambiguous(c *Config, holder, name string) {
	path := childPath("mcpServers", name)
	if s := c.MCPServers[name]; s.Prefix != nil {
		path += ".prefix"
	}
	k.fail(path, "has names that begin with %q; those of %q begin with %q, so that a tool could be of either; set another prefix for one of them",
		c.PrefixOf(name), clip(holder), c.PrefixOf(holder))
}
