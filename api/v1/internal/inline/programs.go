package inline

import (
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
)

// class is what an option means for what follows it.
type class int

const (
	unknown class = iota // the next word may be its value
	boolean              // the next word is not its value
	valued               // the next word is its value
	code                 // it gives code
	module               // it names a module of Python; what follows is the module's
	file                 // it names the file with the code
)

// kind is how a program reads its command line.
type kind struct {
	// wraps: the program starts another one that its arguments name, after so many operands of its own.
	wraps       bool
	operands    int
	assignments bool // NAME=VALUE before the program, as env takes them
	container   bool // it takes the name of an image, and --entrypoint
	everywhere  bool // options count also behind the program
	// shells tells whether a launcher runs a shell on its standard input when these are its words besides options.
	shells func(words []string) bool
	// starters are words that a program follows, up to one of the ends; starts: nothing else is of interest.
	starters, ends []string
	starts         bool

	// Letters of one-letter options, which may stand together (-lc).

	codes, switches, values, modules, files string
	long                                    map[string]class
	// abbreviated: long options may be cut short.
	abbreviated bool
	// option, when present, knows better what an option means.
	own func(arg string) (class, bool)
	// setting tells whether a word sets something to a command.
	setting func(arg string) bool
	// words are words that give code; passed are such as stand before the script or program.
	words, passed []string
	endings       []string // of scripts
	firstIsCode   bool     // the first operand is code, not the name of a file
	slashes       bool     // options may begin with /
	plus          bool     // options may begin with +, which undoes them
}

func (k *kind) isOption(arg string) bool {
	return len(arg) > 1 && (arg[0] == '-' || k.slashes && arg[0] == '/')
}

func (k *kind) looksLikeScript(arg string) bool { return slices.Contains(k.endings, path.Ext(arg)) }

func (k *kind) option(arg string) class {
	if k.own != nil {
		if c, sure := k.own(arg); sure {
			return c
		}
	}
	if arg == "--" {
		return boolean
	}
	if name, ok := strings.CutPrefix(arg, "--"); ok {
		return k.longOption(name)
	}
	return k.letters(arg[1:])
}

const shortestCut = 3 // letters of a long option that is cut short

func (k *kind) longOption(name string) class {
	name, _, cut := strings.Cut(name, "=")
	found, known := k.long[name]
	if !known && k.abbreviated && len(name) >= shortestCut {
		for full, c := range k.long {
			if c == code && strings.HasPrefix(full, name) {
				return code
			}
		}
	}
	switch {
	case known && (found == code || found == file):
		return found
	case cut:
		return boolean // its value is there already
	case known:
		return found
	}
	return unknown
}

func (k *kind) letters(letters string) class {
	result := boolean
	for i := range len(letters) {
		letter, last := letters[i:i+1], i == len(letters)-1
		switch {
		case strings.Contains(k.codes, letter):
			return code
		case strings.Contains(k.modules, letter):
			return module
		case strings.Contains(k.files, letter):
			return file
		case strings.Contains(k.values, letter) && last:
			return valued
		case strings.Contains(k.values, letter):
			return result // the rest is its value
		case !strings.Contains(k.switches, letter):
			result = unknown
		}
	}
	return result
}

func longs(c class, names ...string) map[string]class {
	m := map[string]class{}
	for _, n := range names {
		m[n] = c
	}
	return m
}

func merged(all ...map[string]class) map[string]class {
	m := map[string]class{}
	for _, other := range all {
		maps.Copy(m, other)
	}
	return m
}

// aliases are other names of programs, after a version was taken off.
var aliases = map[string]string{
	"nodejs": "node", "iojs": "node", "pypy": "python", "pythonw": "python", "ipython": "python", "micropython": "python", "py": "python",
	"powershell": "pwsh", "luajit": "lua", "gawk": "awk", "mawk": "awk", "nawk": "awk", "gsed": "sed",
	"vi": "vim", "nvim": "vim", "ex": "vim", "wish": "tclsh",
}

var shell = kind{plus: true, codes: "cs", values: "oO", switches: "abefhiklmnpruvxBCDEHP", long: merged(
	longs(code, "command", "commands", "init-command", "execute"),
	longs(boolean, "login", "norc", "noprofile", "posix", "restricted", "verbose"), longs(valued, "rcfile", "init-file"))}

var script = []string{".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx", ".jsx"}

var node = kind{
	own: func(arg string) (class, bool) {
		switch arg {
		case "-p", "-e", "-pe":
			return code, true
		case "-r", "-C":
			return valued, true
		case "-i", "-c", "-v", "-h":
			return boolean, true
		}
		return 0, false
	},
	long: merged(longs(code, "eval", "print", "input-type"), longs(valued, "require", "import", "loader", "experimental-loader", "conditions",
		"env-file", "env-file-if-exists", "icu-data-dir", "openssl-config", "title", "unhandled-rejections", "disable-warning", "watch-path")),
	endings: script,
}

var launcher = kind{
	wraps: true, abbreviated: true, codes: "c", switches: "yqsdf", values: "pw",
	long: merged(longs(code, "call", "script-shell", "shell", "shell-mode", "node-options"), longs(valued, "package", "workspace", "registry", "prefix"),
		longs(boolean, "yes", "quiet", "silent", "offline", "prefer-offline", "prefer-online", "no-install", "ignore-existing", "ignore-scripts", "bun")),
	passed: []string{"exec", "x", "dlx", "run", "tool", "--"},
}

var wrapper = kind{wraps: true}

var container = kind{
	wraps: true, operands: 1, container: true, switches: "idtP", values: "evuwlhpmca",
	long: merged(longs(boolean, "rm", "interactive", "tty", "init", "detach", "read-only", "privileged", "no-healthcheck", "publish-all"),
		longs(valued, "env", "volume", "network", "name", "user", "workdir", "mount", "env-file", "publish", "memory", "cpus", "platform", "label", "pull")),
	passed: []string{"run", "exec", "container", "compose"},
}

func with(k kind, change func(*kind)) kind {
	change(&k)
	return k
}

// programs are the interpreters and wrappers that are known, by name.
var programs = map[string]kind{
	"sh": shell, "bash": shell, "rbash": shell, "dash": shell, "zsh": shell, "ksh": shell, "mksh": shell, "lksh": shell, "ash": shell,
	"yash": shell, "csh": shell, "tcsh": shell, "xonsh": shell, "elvish": shell,
	"fish": with(shell, func(k *kind) { k.codes, k.switches = "cCs", "iln" }),
	"nu":   with(shell, func(k *kind) { k.codes, k.switches = "ces", "iln" }),
	"cmd": {own: func(arg string) (class, bool) {
		letter := strings.ToLower(arg)
		return code, strings.HasPrefix(letter, "/c") || strings.HasPrefix(letter, "/k") || strings.HasPrefix(letter, "/r")
	}, slashes: true},
	"pwsh": {own: powershell, slashes: true, endings: []string{".ps1"}},

	"python": {codes: "ci", switches: "bBdEhIOqsSuvVxP", values: "WXQ", modules: "m", endings: []string{".py", ".pyz", ".pyc"}},
	"node":   node, "ts-node": node, "tsx": node, "electron": node,
	"deno": {
		words: []string{"eval", "repl"}, passed: []string{"run", "serve", "x"}, switches: "Aq", values: "cLr",
		long: longs(valued, "config", "import-map", "lock", "location", "cert", "seed"), endings: script,
	},
	"bun": with(node, func(k *kind) {
		k.passed, k.words = []string{"run", "x"}, []string{"exec", "repl"}
	}),
	"perl": {own: perl, codes: "eE", switches: "acfnpsStTuUvwWX", values: "CDFIilx0"},
	"ruby": {codes: "e", switches: "achlnpsvwUySd", values: "CEFIKrTWxi0"},
	"php": {
		codes: "rBRE", switches: "acehilmnqsvwz", values: "dgStT", files: "fF", long: merged(longs(code, "run", "process-begin", "process-code", "process-end"),
			longs(file, "file", "process-file"), longs(valued, "define", "server", "docroot")),
		endings: []string{".php", ".phar"}, setting: func(arg string) bool { return strings.Contains(arg, "=php://") },
	},
	"lua":       {codes: "e", switches: "EivW", values: "l"},
	"julia":     {codes: "eE", long: longs(code, "eval", "print"), endings: []string{".jl"}, switches: "iqh"},
	"r":         {codes: "e", endings: []string{".R", ".r"}, files: "f", long: merged(longs(file, "file"), longs(boolean, "slave", "no-echo", "vanilla"))},
	"rscript":   {codes: "e", endings: []string{".R", ".r"}},
	"osascript": {codes: "e", switches: "i", values: "ls"},
	"elixir":    {codes: "e", long: longs(code, "eval", "rpc-eval"), endings: []string{".exs", ".ex"}},
	"groovy":    {codes: "e"},
	"guile":     {codes: "c"},
	"awk":       {firstIsCode: true, files: "f", values: "Fv", codes: "e", long: merged(longs(file, "file"), longs(code, "source"))},

	"sed":    {firstIsCode: true, files: "f", codes: "e", switches: "nErsuz", long: merged(longs(file, "file"), longs(code, "expression"))},
	"tclsh":  {own: func(arg string) (class, bool) { return valued, arg == "-encoding" }},
	"expect": {codes: "c", switches: "diNnv", files: "fb"},
	"vim":    {firstIsCode: true, codes: "c", values: "TuU", setting: func(arg string) bool { return strings.HasPrefix(arg, "+") }, long: longs(code, "cmd")},
	"gdb":    {firstIsCode: true, own: debugger, files: "x"},
	"watch":  {firstIsCode: true, values: "nq", switches: "bcdegptwxC"}, // it joins its arguments for a shell
	"find":   {starts: true, starters: []string{"-exec", "-execdir", "-ok", "-okdir"}, ends: []string{";", "+"}},

	"toolcrib": {wraps: true, starters: []string{"--"}, passed: []string{"run"}},

	"npx": with(launcher, func(k *kind) { k.shells = func(words []string) bool { return len(words) == 0 } }), "pnpx": launcher, "bunx": launcher,
	"pnpm": with(launcher, func(k *kind) { k.everywhere = true }),
	"yarn": with(launcher, func(k *kind) { k.everywhere = true }),
	"npm": with(launcher, func(k *kind) {
		k.everywhere, k.words = true, []string{"explore", "set-script"}
		k.shells = func(words []string) bool { return len(words) == 1 && (words[0] == "exec" || words[0] == "x") }
	}),
	"uvx":  {wraps: true, switches: "qvn", values: "pwi", passed: []string{"--"}, words: []string{"-"}},
	"uv":   {wraps: true, switches: "qvn", values: "pwi", passed: []string{"tool", "run"}, words: []string{"-"}},
	"pipx": {wraps: true, passed: []string{"run"}},

	"docker": container, "podman": container, "nerdctl": container, "finch": container,

	"env":      {wraps: true, assignments: true, codes: "S", switches: "iv0", values: "uC", abbreviated: true, long: longs(code, "split-string")},
	"sudo":     with(wrapper, func(k *kind) { k.assignments, k.switches, k.codes = true, "AbEHnPSkKv", "si" }),
	"doas":     with(wrapper, func(k *kind) { k.switches, k.codes = "n", "s" }),
	"su":       {wraps: true, operands: 1, codes: "c", abbreviated: true, long: longs(code, "command", "session-command"), everywhere: true},
	"runuser":  {wraps: true, operands: 1, codes: "c", abbreviated: true, long: longs(code, "command", "session-command"), everywhere: true},
	"flock":    {wraps: true, operands: 1, codes: "c", abbreviated: true, long: longs(code, "command"), everywhere: true},
	"script":   {wraps: true, codes: "c", abbreviated: true, long: longs(code, "command"), everywhere: true},
	"busybox":  wrapper,
	"toybox":   wrapper,
	"ld.so":    wrapper,
	"timeout":  {wraps: true, operands: 1, switches: "fpv", values: "ks"},
	"nice":     {wraps: true, values: "n"},
	"ionice":   {wraps: true, values: "cnt", switches: "t"},
	"chrt":     {wraps: true, operands: 1},
	"taskset":  {wraps: true, operands: 1},
	"chroot":   {wraps: true, operands: 1},
	"nsenter":  wrapper,
	"unshare":  wrapper,
	"setpriv":  wrapper,
	"gosu":     {wraps: true, operands: 1},
	"su-exec":  {wraps: true, operands: 1},
	"nohup":    wrapper,
	"setsid":   {wraps: true, switches: "cfw"},
	"setarch":  {wraps: true, operands: 1},
	"linux32":  wrapper,
	"linux64":  wrapper,
	"stdbuf":   {wraps: true, values: "ioe"},
	"time":     wrapper,
	"xargs":    wrapper,
	"parallel": wrapper,
	"strace":   wrapper,
	"ltrace":   wrapper,
	"prlimit":  wrapper,
	"numactl":  wrapper,
	"tini":     {wraps: true, switches: "sgvw", values: "ep"},
	"bwrap":    wrapper,
	"firejail": wrapper,
	"xvfb-run": wrapper,

	"catatonit":   wrapper,
	"dumb-init":   wrapper,
	"systemd-run": wrapper,
	"cross-env":   {wraps: true, assignments: true},
	"poetry":      {wraps: true, passed: []string{"run"}},
	"pipenv":      {wraps: true, passed: []string{"run"}},
	"conda":       {wraps: true, passed: []string{"run"}},
	"mise":        {wraps: true, passed: []string{"exec", "x"}},

	"ssh":   {wraps: true, operands: 1, everywhere: true, setting: sshCommand},
	"scp":   {wraps: true, everywhere: true, codes: "S", setting: sshCommand},
	"sftp":  {wraps: true, everywhere: true, codes: "S", setting: sshCommand},
	"rsync": {wraps: true, everywhere: true, codes: "e", long: longs(code, "rsh", "rsync-path")},
	"git": {
		wraps: true, everywhere: true, codes: "cu", abbreviated: true,
		long: longs(code, "upload-pack", "receive-pack", "exec", "exec-path", "config-env", "config"),
	},
	"make": {wraps: true, everywhere: true, long: longs(code, "eval"), codes: "E"},
}

// debugger is of gdb, which takes long options also with one dash, and cut short.
func debugger(arg string) (class, bool) {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return code, slices.Contains([]string{"ex", "iex", "args"}, name) || strings.HasPrefix(name, "ev") || strings.HasPrefix(name, "init-ev")
}

var sshSetting = regexp.MustCompile(`(?i)^(-[A-Za-z0-9]*o)?\s*(ProxyCommand|LocalCommand|PermitLocalCommand|KnownHostsCommand)\b`)

func sshCommand(arg string) bool { return sshSetting.MatchString(arg) }

// harmless are modules that perl is told to load, with what it imports; anything else after -M is code.
var harmless = regexp.MustCompile(`^-[Mm]-?[A-Za-z0-9_:]+(=[A-Za-z0-9_,:]*)?$`)

func perl(arg string) (class, bool) {
	switch {
	case strings.HasPrefix(arg, "-M"), strings.HasPrefix(arg, "-m"):
		if harmless.MatchString(arg) {
			return boolean, true
		}
		return code, true
	case strings.HasPrefix(arg, "-d"): // the debugger reads commands from its input, and its module is code like that of -M
		return code, true
	}
	return 0, false
}

// powershell knows options by any beginning of theirs that is not another's.
func powershell(arg string) (class, bool) {
	name := strings.ToLower(strings.TrimLeft(arg, "-/"))
	switch {
	case name == "":
		return boolean, true
	case begins(name, "file"):
		return file, true
	case begins(name, "commandwithargs"), begins(name, "encodedcommand"), name == "cwa", name == "ec":
		return code, true
	case slices.Contains([]string{"noprofile", "nologo", "noninteractive", "nop", "noni", "nol", "sta", "mta", "login", "l", "i"}, name):
		return boolean, true
	}
	return unknown, true
}

func begins(name, word string) bool { return strings.HasPrefix(word, name) }
