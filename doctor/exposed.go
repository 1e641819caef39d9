package doctor

import (
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// telling are names of arguments whose values are secrets, as far as names tell.
var telling = regexp.MustCompile(
	`(?i)(secret|password|passwd|pwd|token|credentials?|cookie|authorization|bearer|(^|api[-_]?|access[-_]?|auth[-_]?|secret[-_]?)key)$`)

// minted are secrets that tell by themselves what they are: those of well-known services, keys of toolcrib, and JWTs.
var minted = regexp.MustCompile(`\b(?:sk-[A-Za-z0-9_-]{16,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|` +
	`xox[abeprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[A-Za-z0-9_-]{30,}|npm_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{20,}|tck_[A-Za-z0-9_-]{20,}|` +
	`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)`)

// assigned is an argument with a name and a value: --token=VALUE, TOKEN=VALUE, or a header.
var assigned = regexp.MustCompile(`^-{0,2}([A-Za-z][\w.-]*)(?:=|:\s*)(.+)$`)

// member is a text in JSON that has a name.
var member = regexp.MustCompile(`"([\w.-]+)"\s*:\s*"([^"]+)"`)

// exposed finds secrets of servers where they do not stay secret: all users of a machine see the arguments of its processes, and
// addresses get into logs on the way.
func (p *patient) exposed(n *notes) {
	for _, name := range p.config.ServerNames() {
		s := p.config.MCPServers[name]
		at, _ := revealed(s.Args)
		if len(at) > 0 {
			n.warn("server "+name, "hand it over under env of the server, if it takes it there",
				"%s: everybody on the machine sees the arguments of its processes, and this looks like a secret", listed(at))
		}
		if len(keysIn(s)) > 0 {
			n.warn("server "+name, "hand it over under headers of the server, if it takes it there",
				"its url holds a login or a key, which gets into the logs of what stands on the way")
		}
	}
}

// revealed are the places of arguments that look like secrets, and these.
func revealed(args []string) (at, secrets []string) {
	for i, arg := range args {
		found := keysOf(arg)
		found = append(found, minted.FindAllString(arg, -1)...)
		for _, m := range slices.Concat(assigned.FindAllStringSubmatch(arg, 1), member.FindAllStringSubmatch(arg, -1)) {
			if telling.MatchString(m[1]) && confidential(m[2]) {
				found = append(found, m[2])
			}
		}
		if i > 0 && strings.HasPrefix(args[i-1], "-") && telling.MatchString(args[i-1]) && !strings.ContainsAny(args[i-1], "=:") && confidential(arg) {
			found = append(found, arg)
		}
		if len(found) > 0 {
			at, secrets = append(at, "args["+strconv.Itoa(i)+"]"), append(secrets, found...)
		}
	}
	return at, secrets
}

// confidential tells whether a value under the name of a secret can be one: no word, path, number, option or variable.
func confidential(value string) bool {
	_, number := strconv.ParseFloat(value, 64)
	file := strings.HasPrefix(value, ".") || strings.HasPrefix(value, "~") ||
		slices.Contains([]string{".pem", ".key", ".crt", ".json", ".txt"}, filepath.Ext(value))
	return len(value) >= shortest && number != nil && !file && !ordinary(value) && value[0] != '-' && !strings.Contains(value, "${")
}

// keysOf are the login and the keys of an address.
func keysOf(text string) (secrets []string) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" {
		return nil
	}
	password, _ := u.User.Password()
	if password == "" {
		password = u.User.Username() // a token alone
	}
	if len(password) >= shortest {
		secrets = append(secrets, password)
	}
	for name, all := range u.Query() {
		for _, value := range all {
			if minted.MatchString(value) || telling.MatchString(name) && confidential(value) {
				secrets = append(secrets, value)
			}
		}
	}
	return secrets
}

// keysIn are the logins and keys of all addresses of a server.
func keysIn(s *v1.Server) []string {
	all := keysOf(s.URL)
	for _, in := range s.URLs {
		all = append(all, keysOf(in.URL)...)
	}
	return all
}
