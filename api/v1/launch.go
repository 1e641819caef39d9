package v1

import (
	"fmt"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/toolcrib/toolcrib/api/v1/internal/inline"
)

// The values of Launch.Approval.
const (
	ApprovalOff      = "off"
	ApprovalRequired = "required"
)

// lockName is the lock file where launch.lock names none.
const lockName = "toolcrib.lock"

// LockFile is the path of the file with pinned packages and approvals.
func (c *Config) LockFile() string {
	if c.Launch.Lock != "" {
		return c.Launch.Lock
	}
	return filepath.Join(c.StateDir, lockName)
}

// steering are the variables that change which program runs, or what code it
// loads. A trailing _ stands for all that begin so.
var steering = []string{
	"PATH", "LD_", "DYLD_", "GCONV_PATH", "ENV", "BASH_ENV", "BASH_FUNC_", "BASHOPTS", "SHELLOPTS", "PS4", "ZDOTDIR", "IFS", "SHELL",
	"HOME", "USERPROFILE", "XDG_CONFIG_HOME", // where launchers find their settings, and interpreters code of the user
	"OPENSSL_CONF", "OPENSSL_ENGINES", "OPENSSL_MODULES", "ERL_", "ELIXIR_ERL_OPTIONS", "RSYNC_RSH", "MAKEFLAGS", "GNUMAKEFLAGS",
	"COREPACK_", "YARN_", "PNPM_", "VOLTA_", "NVM_", "PYENV_", "ASDF_", "GOROOT", "GOPATH", "GOBIN", "CGO_", "CC", "CXX",
	"NODE_OPTIONS", "NODE_PATH", "NODE_REPL_EXTERNAL_MODULE", "npm_", "NPM_", "BUN_", "DENO_",
	"PYTHON", "PIP_", "UV_", "VIRTUAL_ENV", "PERL5", "PERLLIB", "RUBYOPT", "RUBYLIB", "PHPRC", "PHP_INI_SCAN_DIR",
	"GOFLAGS", "GOPROXY", "GONOSUMDB", "GONOSUMCHECK", "GOSUMDB", "GOINSECURE", "GOPRIVATE", "GOTOOLCHAIN", "GOENV",
	"JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "DOTNET_", "CORECLR_", "GIT_", "LUA_", "DOCKER_",
}

// Steers tells whether an environment variable changes which program runs or
// what code it loads.
func Steers(name string) bool {
	return slices.ContainsFunc(steering, func(s string) bool {
		family := strings.HasSuffix(s, "_") || s == "PYTHON" || s == "PERL5"
		return name == s || family && strings.HasPrefix(name, s)
	})
}

// launch checks what a server with a command or a package would start.
func (k *checker) launch(l *Launch, path string, s *Server) {
	at := path + ".command"
	command, args := s.Command, s.Args
	k.inline(l, path, s)
	if p, err := ParsePackage(s.Package); err == nil {
		at, command, args = path+".package", p.Launcher, append([]string{p.Spec()}, s.Args...)
	}
	if len(l.Templates) == 0 || command == "" {
		return
	}
	if !slices.ContainsFunc(l.Templates, func(t LaunchTemplate) bool { return t.fits(command, args, s.Cwd) }) {
		k.fail(at, "%s fits no template of launch.templates, with its arguments and working directory; start what is allowed there, or add a template",
			strconv.Quote(clip(command)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if Steers(name) {
			k.fail(childPath(path+".env", name), "changes what a program runs, which launch.templates would not see; remove it")
		}
	}
}

// inline refuses code on the command line.
func (k *checker) inline(l *Launch, path string, s *Server) {
	found, ok := inline.Find(s.Command, s.Args, l.Inline)
	switch {
	case ok && found.Index < 0:
		k.fail(path+".command", "would have %s run code from its standard input, which is what callers send%s", found.Program, inlineRemedy(found.Program))
	case ok:
		k.fail(path+".args["+strconv.Itoa(found.Index)+"]", "gives %s code on the command line (%s)%s",
			found.Program, strconv.Quote(clip(found.Argument)), inlineRemedy(found.Program))
	}
	k.inlineEnv(l, path, s)
}

func inlineRemedy(program string) string {
	return "; put the code into a file, or allow this with launch.inline: [" + program + "]"
}

// inlineEnv refuses variables whose values are code.
func (k *checker) inlineEnv(l *Launch, path string, s *Server) {
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		program, ok := inline.Variable(name, s.Env[name])
		if ok && !slices.Contains(l.Inline, program) {
			k.fail(childPath(path+".env", name), "gives %s code to run%s", program, inlineRemedy(program))
		}
	}
}

// InlineOf names the programs that the command line of a server gives code to:
// with them in launch.inline it is valid.
func InlineOf(s *Server) []string {
	var allowed []string
	for _, name := range slices.Sorted(maps.Keys(s.Env)) {
		if program, ok := inline.Variable(name, s.Env[name]); ok && !slices.Contains(allowed, program) {
			allowed = append(allowed, program)
		}
	}
	for {
		found, ok := inline.Find(s.Command, s.Args, allowed)
		if !ok {
			return allowed
		}
		allowed = append(allowed, found.Program)
	}
}

// pkg checks a reference and what stands beside it.
func (k *checker) pkg(path string, s *Server) {
	if _, err := ParsePackage(s.Package); err != nil {
		k.fail(path+".package", "%q %v", clip(s.Package), err)
	}
	if s.Type == TypeHTTP || s.Type == TypeSSE {
		k.fail(path+".type", "is %s, but the server has a package, which is spoken to over stdio; remove type", s.Type)
	}
}

// templates checks the policy itself.
func (k *checker) templates(l *Launch) {
	for i, t := range l.Templates {
		path := "launch.templates[" + strconv.Itoa(i) + "]"
		if t.Command == "" {
			k.fail(path+".command", "is missing; name the program that may be started")
		}
		if strings.Contains(t.Command, "*") {
			k.fail(path+".command", "has a wildcard; name each program, for args alone may have patterns")
		}
		if t.Command == LauncherGo && len(t.Args) > 0 && strings.HasPrefix(t.Args[0], "*") {
			k.fail(path+".args[0]", "allows any module; name at least the host")
		}
		for j, arg := range t.Args {
			if arg == anyFurther && j < len(t.Args)-1 {
				k.fail(fmt.Sprintf("%s.args[%d]", path, j), "%s stands for all further arguments, so it is the last", anyFurther)
			}
		}
	}
	for i, name := range l.Inline {
		path := "launch.inline[" + strconv.Itoa(i) + "]"
		switch {
		case strings.TrimSpace(name) == "" || strings.ContainsAny(name, "*/"):
			k.fail(path, "%q is not the name of a program; write sh or python, for example", clip(name))
		case inline.Name(name) != name:
			k.fail(path, "%q is known as %q here; write that", clip(name), inline.Name(name))
		}
	}
	k.noNUL("launch.lock", l.Lock)
}

// anyFurther stands for any number of further arguments in a template.
const anyFurther = "..."

// fits tells whether a command line has the shape of the template.
func (t *LaunchTemplate) fits(command string, args []string, cwd string) bool {
	if command != t.Command || !wildcard(t.Cwd, cwd) {
		return false
	}
	patterns, open := t.Args, false
	if n := len(patterns); n > 0 && patterns[n-1] == anyFurther {
		patterns, open = patterns[:n-1], true
	}
	if len(args) < len(patterns) || len(args) > len(patterns) && !open {
		return false
	}
	for i, p := range patterns {
		if !wildcard(p, args[i]) {
			return false
		}
	}
	return true
}

// wildcard tells whether an argument fits a pattern. What stands for something
// never begins an option, nor leaves a folder by way of "..".
func wildcard(p, arg string) bool {
	if !strings.Contains(p, "*") {
		return p == arg
	}
	if strings.HasPrefix(arg, "-") && !strings.HasPrefix(p, "-") || slices.Contains(strings.Split(arg, "/"), "..") {
		return false
	}
	text := regexp.QuoteMeta(p)
	text = strings.ReplaceAll(text, `\*\*`, `(?s:.*)`)
	text = strings.ReplaceAll(text, `\*`, `[^/:]*`)
	return pattern(`\A` + text + `\z`).MatchString(arg)
}

// secretive are parts of names whose values nobody should see.
var secretive = regexp.MustCompile(`(?i)TOKEN|SECRET|PASSW|PASSPHRASE|CREDENTIAL|API_?KEY|PRIVATE|ACCESS_?KEY|_KEY$|_PAT$|_AUTH$`)

// reference is what a value refers to, for warnings about secrets.
var reference = regexp.MustCompile(`\$\{([^}]*)\}`)

// exposes warns of secrets among arguments, which every user of the machine can
// see in the list of processes.
func (d *decoder) exposes(line int, path, text string) {
	if d.lenient || !argument.MatchString(path) {
		return
	}
	for _, found := range reference.FindAllStringSubmatchIndex(text, -1) {
		if found[0] > 0 && text[found[0]-1] == '$' {
			continue
		}
		ref := text[found[2]:found[3]]
		name, _, _ := strings.Cut(strings.TrimPrefix(ref, "env:"), ":-")
		if strings.HasPrefix(ref, "file:") || secretive.MatchString(name) {
			d.warn(line, path, "puts what ${"+clip(ref)+"} stands for on the command line, which every user of the machine can see; give it to the server under env")
			return
		}
	}
}

var argument = regexp.MustCompile(`^mcpServers\b.*\.args\[[0-9]+\]$`)
