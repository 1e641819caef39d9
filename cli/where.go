package cli

import (
	"net/url"
	"path"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// where names the command of a server and the package that it launches, or the
// address of a server, and nothing that could hold a secret: other arguments,
// users and queries may.
func where(s *v1.Server) string {
	switch {
	case s.Package != "":
		return s.Package
	case s.Command == "":
		return address(s.URL)
	}
	if what := launched(s); what != "" {
		return s.Command + " " + what
	}
	return s.Command
}

// launchers are commands whose first argument names a program or a package.
var launchers = []string{
	"bun", "bunx", "deno", "docker", "dotnet", "go", "java", "node", "npm", "npx", "pipx", "pnpm", "pnpx", "podman",
	"python", "python3", "ruby", "uv", "uvx", "yarn",
}

// ofServers are the launchers whose first argument is a server, and no word of their own.
var ofServers = []string{"bunx", "node", "npx", "pnpx", "python", "python3", "uvx"}

// commandName is what a command goes by where nobody gave it a name: what it launches, without path and version, or its own.
func commandName(s *v1.Server) string {
	name := path.Base(s.Command)
	if what := launched(s); what != "" && slices.Contains(ofServers, name) {
		what, _, _ = strings.Cut(path.Base(what), "@")
		if what != "" && what != "." {
			name = what
		}
	}
	return strings.TrimSuffix(name, path.Ext(name))
}

// switches are flags of launchers that take no value, or a name.
var switches = []string{"-y", "--yes", "-q", "--quiet", "-u", "-m", "-jar", "--bun", "--offline", "--no-install"}

// launched is the first argument of a launcher that is no flag, if only flags
// without a value stand before it and it looks like a name.
func launched(s *v1.Server) string {
	if !slices.Contains(launchers, path.Base(s.Command)) {
		return ""
	}
	for _, arg := range s.Args {
		switch {
		case slices.Contains(switches, arg):
		case arg == "" || strings.HasPrefix(arg, "-") || strings.Contains(arg, "://") || strings.ContainsFunc(arg, notName) || opaque(arg):
			return ""
		default:
			return arg
		}
	}
	return ""
}

func notName(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`=?&#'"$;`, r)
}

// address is a URL without user, query and fragment. Segments of its path that
// look like a token are left out.
func address(text string) string {
	u, err := url.Parse(text)
	if err != nil {
		return ""
	}
	segments := strings.Split(u.Path, "/")
	for i, segment := range segments {
		if opaque(segment) {
			segments[i] = "…"
		}
	}
	return u.Scheme + "://" + u.Host + printable(strings.Join(segments, "/"))
}

// opaque tells whether text may be a token: long, and of one piece with digits
// in it, or longer than names are.
func opaque(text string) bool {
	for piece := range strings.FieldsFuncSeq(text, func(r rune) bool { return strings.ContainsRune("/@.-_:", r) }) {
		if len(piece) > 32 || len(piece) > 11 && strings.ContainsAny(piece, "0123456789") {
			return true
		}
	}
	return len(text) > 24 && !strings.ContainsAny(text, "/@") && strings.ContainsAny(text, "0123456789")
}
