package doctor

import (
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// telling are names of arguments whose values are secrets, as far as names tell.
var telling = regexp.MustCompile(
	`(?i)(secret|password|passwd|pwd|(^|[-_])pass(phrase|code)?|token|credentials?|cookie|authorization|bearer|` +
		`(^|api[-_]?|access[-_]?|auth[-_]?|secret[-_]?)key)$`)

// minted are secrets that tell by themselves what they are: those of well-known services, keys of toolcrib, and JWTs.
var minted = regexp.MustCompile(`\b(?:sk-[A-Za-z0-9_-]{16,}|gh[opsur]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}|` +
	`xox[abeprs]-[A-Za-z0-9-]{10,}|(?:AKIA|ASIA)[A-Z0-9]{16}\b|AIza[A-Za-z0-9_-]{30,}|npm_[A-Za-z0-9]{30,}|hf_[A-Za-z0-9]{20,}|tck_[A-Za-z0-9_-]{20,}|` +
	`eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]*)`)

// assigned is an argument with a name and a value: --token=VALUE, TOKEN=VALUE, or a header.
var assigned = regexp.MustCompile(`^-{0,2}([A-Za-z][\w.-]*)(?:=|:\s*)(.+)$`)

// member is a text in JSON that has a name, and parameter a value with one among others: of an address, or of a script.
var (
	member    = regexp.MustCompile(`"([\w.-]+)"\s*:\s*"([^"]+)"`)
	parameter = regexp.MustCompile(`([A-Za-z][\w.-]*)=([^\s=&;,"']+=*)`)
)

// located is one in a text, and login what stands in it before the host, also with characters that had to be escaped there.
var (
	located = regexp.MustCompile(`[A-Za-z][\w+.-]*://[^\s"]+`)
	login   = regexp.MustCompile(`://([^/?#]*)@`)
	odd     = regexp.MustCompile(`://(.*)@`)
)

// exposed finds secrets of servers where they do not stay secret: all users of a machine see the arguments of its processes, and
// addresses get into logs on the way.
func (p *patient) exposed(n *notes) {
	for _, name := range p.config.ServerNames() {
		s := p.config.MCPServers[name]
		if at := revealed(s.Args); len(at) > 0 {
			n.warn("server "+name, "hand it over under env of the server, if it takes it there",
				"%s: everybody on the machine sees the arguments of its processes, and this looks like a secret", listed(at))
		}
		if slices.ContainsFunc(addresses(s), keyed) {
			n.warn("server "+name, "hand it over under headers of the server, if it takes it there",
				"its url holds a key, which gets into the logs of what stands on the way")
		}
	}
}

// revealed are the places of arguments that look like secrets.
func revealed(args []string) (at []string) {
	for i, arg := range args {
		name := option(args, i)
		_, password, _ := loginIn(arg)
		if keyed(arg) || len(password) >= shortest || telling.MatchString(name) && confidential(arg) || name == "p" && confidential(arg) && !wordy(arg) {
			at = append(at, "args["+strconv.Itoa(i)+"]")
		}
	}
	return at
}

// keyed tells whether something in a text looks like a key.
func keyed(text string) bool {
	return minted.MatchString(text) ||
		slices.ContainsFunc(named(text), func(m [2]string) bool { return telling.MatchString(m[0]) && confidential(m[1]) })
}

// veiled are what of arguments and addresses is not shown: whatever has the name of a secret, logins, and words that are made up of
// more than words and numbers, for secrets do not all have a name that tells.
func veiled(args ...string) (secrets []string) {
	for i, arg := range args {
		if name := option(args, i); suspect(name) && (arg[0] != '-' || !wordy(arg)) {
			secrets = append(secrets, arg)
		}
		for _, m := range named(arg) {
			if suspect(m[0]) {
				secrets = append(secrets, m[1])
			}
		}
		user, password, alone := loginIn(arg)
		secrets = append(secrets, password)
		if text, err := url.PathUnescape(password); err == nil {
			secrets = append(secrets, text)
		}
		if alone || !word.MatchString(user) {
			secrets = append(secrets, user)
		}
		secrets = append(secrets, minted.FindAllString(arg, -1)...)
		for _, text := range strings.FieldsFunc(arg, func(r rune) bool { return r <= ' ' || strings.ContainsRune(`=&;,"'`, r) }) {
			if !plain(text) {
				secrets = append(secrets, text)
			}
			if len(text) > 2 && text[0] == '-' && text[1] != '-' && !wordy(text[2:]) { // -pPASSWORD
				secrets = append(secrets, text[2:])
			}
		}
	}
	return secrets
}

// suspect tells whether what has a name is not shown. That is more than is warned of: nobody is bothered by what is hidden.
func suspect(name string) bool {
	return telling.MatchString(name) || secretive.MatchString(name) || name == "p"
}

// option is the name that the argument before one has, if it is an option without a value.
func option(args []string, i int) string {
	if i == 0 || args[i] == "" || !strings.HasPrefix(args[i-1], "-") || strings.ContainsAny(args[i-1], "=:") {
		return ""
	}
	return strings.TrimLeft(args[i-1], "-")
}

// named are the values in a text that have a name.
func named(text string) (all [][2]string) {
	for _, m := range slices.Concat(assigned.FindAllStringSubmatch(text, 1), member.FindAllStringSubmatch(text, -1),
		parameter.FindAllStringSubmatch(text, -1)) {
		all = append(all, [2]string{m[1], m[2]})
		if value, err := url.QueryUnescape(m[2]); err == nil && value != m[2] {
			all = append(all, [2]string{m[1], value})
		}
	}
	if m := assigned.FindStringSubmatch(text); m != nil {
		all = append(all, named(m[2])...) // --env=TOKEN=VALUE
	}
	return all
}

// loginIn is the login of the address in a text; one that stands alone is a token.
func loginIn(text string) (user, password string, alone bool) {
	text = located.FindString(text)
	m := login.FindStringSubmatch(text)
	if _, err := url.Parse(text); m == nil && err != nil {
		m = odd.FindStringSubmatch(text)
	}
	if m == nil {
		return "", "", false
	}
	user, password, found := strings.Cut(m[1], ":")
	if !found || password == "" {
		return user, user, true
	}
	return user, password, false
}

// confidential tells whether a value under the name of a secret can be one: no word, path, number, option or variable.
func confidential(value string) bool {
	_, number := strconv.ParseFloat(value, 64)
	file := strings.HasPrefix(value, ".") || strings.HasPrefix(value, "~") ||
		slices.Contains([]string{".pem", ".key", ".crt", ".json", ".txt"}, filepath.Ext(value))
	return len(value) >= shortest && number != nil && !file && (!ordinary(value) || value[0] == '/' && !wordy(value)) &&
		value[0] != '-' && !strings.Contains(value, "${")
}

// spelt is a word or number as people write them: search, readOnly, WARNING, python3, v2, 1rc1.
var spelt = regexp.MustCompile(`^(?:[A-Za-z]?[a-z]*(?:[A-Z][a-z]+)*|[A-Z]{1,11})\d{0,3}$|^v?\d+(?:[a-z]{1,3}\d{0,3})?$`)

// digest is that of an image.
var digest = regexp.MustCompile(`sha256:[0-9a-f]{64}`)

// wordy tells whether a text is made up of words and numbers, as names of packages, versions and dates are.
func wordy(text string) bool {
	return !slices.ContainsFunc(strings.FieldsFunc(digest.ReplaceAllString(text, ""), func(r rune) bool {
		return !unicode.IsLetter(r) && !unicode.IsDigit(r)
	}), func(each string) bool { return !spelt.MatchString(each) })
}

// plain tells whether an argument can be shown that has no telling name.
func plain(text string) bool {
	return wordy(text) || ordinary(text) || strings.HasPrefix(text, "./") || strings.HasPrefix(text, "../") || strings.HasPrefix(text, "~/")
}

// addresses are all those of a server.
func addresses(s *v1.Server) []string {
	all := make([]string, 0, 1+len(s.URLs))
	all = append(all, s.URL)
	for _, in := range s.URLs {
		all = append(all, in.URL)
	}
	return all
}
