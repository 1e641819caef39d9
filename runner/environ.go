package runner

import (
	"cmp"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// passed are the variables of the program's own environment that a child gets: what a program needs
// to find itself at home, and what launchers (npx, uvx) need to fetch through the local network.
var passed = []string{
	"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "TZ", "TMPDIR", "TMP", "TEMP",
	"LANG", "LANGUAGE", "LC_ALL", "LC_ADDRESS", "LC_COLLATE", "LC_CTYPE", "LC_IDENTIFICATION", "LC_MEASUREMENT",
	"LC_MESSAGES", "LC_MONETARY", "LC_NAME", "LC_NUMERIC", "LC_PAPER", "LC_TELEPHONE", "LC_TIME",
	"XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR",

	"NODE_EXTRA_CA_CERTS", "NODE_OPTIONS", "NODE_PATH", "NVM_DIR", "NVM_BIN", "VOLTA_HOME", "FNM_DIR", "PNPM_HOME", "BUN_INSTALL", "DENO_DIR",
	"npm_config_cache", "npm_config_cafile", "npm_config_globalconfig", "npm_config_offline", "npm_config_prefer_offline",
	"npm_config_prefix", "npm_config_registry", "npm_config_strict_ssl", "npm_config_userconfig",
	"NPM_CONFIG_CACHE", "NPM_CONFIG_CAFILE", "NPM_CONFIG_GLOBALCONFIG", "NPM_CONFIG_OFFLINE", "NPM_CONFIG_PREFER_OFFLINE",
	"NPM_CONFIG_PREFIX", "NPM_CONFIG_REGISTRY", "NPM_CONFIG_STRICT_SSL", "NPM_CONFIG_USERCONFIG",

	"PYTHONHOME", "PYTHONPATH", "PYTHONUNBUFFERED", "PYTHONIOENCODING", "PYTHONUTF8", "VIRTUAL_ENV", "PYENV_ROOT", "PIPX_HOME",
	"PIP_CERT", "PIP_CONFIG_FILE", "PIP_INDEX_URL", "UV_CACHE_DIR", "UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_INDEX_URL",
	"UV_NATIVE_TLS", "UV_OFFLINE", "UV_PYTHON", "UV_PYTHON_INSTALL_DIR", "UV_TOOL_DIR",
	"GOPATH", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOBIN", "CARGO_HOME", "RUSTUP_HOME", "JAVA_HOME", "DOTNET_ROOT",

	"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE",
	"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "all_proxy", "no_proxy",
}

// Environ returns the environment of a child, sorted: the variables of an allow-list that lookup (as
// os.LookupEnv) finds, and extra, which wins. What else the program's environment holds never reaches
// a child. A variable on the list whose value is a URL with a user or password in it (a proxy, a
// package index) counts as a secret too: it is left out, and can be given in extra.
func Environ(lookup func(string) (string, bool), extra map[string]string) []string {
	all := make(map[string]string, len(extra)+16)
	for _, name := range passed {
		if v, ok := lookup(name); ok && !hasUserinfo(v) {
			all[name] = v
		}
	}
	maps.Copy(all, extra)
	env := make([]string, 0, len(all))
	for name, v := range all {
		env = append(env, name+"="+v)
	}
	slices.Sort(env)
	return env
}

// hasUserinfo reports whether v, or a part of it as in GOPROXY, is a URL with user information.
func hasUserinfo(v string) bool {
	for _, part := range strings.FieldsFunc(v, func(r rune) bool { return r == ',' || r == '|' || r == ' ' }) {
		_, rest, ok := strings.Cut(part, "://")
		if !ok {
			continue
		}
		if u, err := url.Parse(part); err != nil && strings.Contains(rest, "@") || err == nil && u.User != nil {
			return true
		}
	}
	return false
}

// minSecret is the length from which a value of the environment is blotted out of stderr lines;
// shorter ones are words that occur by themselves.
const minSecret = 8

// secretsOf returns what replaces the values of env that do not come from the allow-list by "[NAME]":
// a server that prints its environment must not carry a token into logs and errors.
func secretsOf(env []string) *strings.Replacer {
	var found []secret
	for _, e := range env {
		name, value, _ := strings.Cut(e, "=")
		if len(value) >= minSecret && name != "PWD" && (!slices.Contains(passed, name) || hasUserinfo(value)) {
			found = append(found, secret{name, value})
		}
	}
	return blotter(found)
}

// secret is a text that is not to be shown, and what it is called.
type secret struct{ name, value string }

// blotter replaces secrets by their names, of those that begin alike the longest.
func blotter(found []secret) *strings.Replacer {
	slices.SortFunc(found, func(a, b secret) int {
		return cmp.Or(cmp.Compare(len(b.value), len(a.value)), cmp.Compare(a.name, b.name), cmp.Compare(a.value, b.value))
	})
	pairs := make([]string, 0, 2*len(found))
	for _, e := range found {
		pairs = append(pairs, e.value, "["+e.name+"]")
	}
	return strings.NewReplacer(pairs...)
}
