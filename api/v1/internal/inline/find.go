package inline

import (
	"path"
	"regexp"
	"slices"
	"strings"
)

// Finding is code on a command line.
type Finding struct {
	// Program is the name of what would run the code, without folder and version.
	Program string
	// Argument is the option that the code comes with; empty when the program reads it from its standard input.
	Argument string
	// Index is where the argument stands; -1 for none.
	Index int
}

const deepest = 16 // wrappers around wrappers

// Find returns the first code on the command line that none of the allowed programs would run.
func Find(command string, args, allowed []string) (Finding, bool) {
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = Name(a)
	}
	s := search{allowed: names}
	s.program(command, args, 0, 0)
	return s.found, s.ok
}

// Name is a program's name without folder, version and ending: python for /usr/bin/python3.11.
func Name(command string) string {
	name := strings.ToLower(path.Base(strings.ReplaceAll(command, `\`, "/")))
	for _, ending := range []string{".exe", ".cmd", ".bat"} {
		name = strings.TrimSuffix(name, ending)
	}
	if strings.HasPrefix(name, "ld-") || strings.HasPrefix(name, "ld.so") {
		return "ld.so"
	}
	if at := strings.Index(name, "@"); at > 0 { // uvx takes python@3.12
		name = name[:at]
	}
	plain := strings.TrimRight(name, "0123456789.-")
	for _, name := range []string{name, plain, variant.ReplaceAllString(name, "$1")} {
		if same, ok := aliases[name]; ok {
			return same
		}
		if _, known := programs[name]; known {
			return name
		}
	}
	return name
}

// variant is how builds of one interpreter are told apart: python3.13t, perl5.36-x86_64-linux-gnu, bash-static.
var variant = regexp.MustCompile(`^([a-z]+)(?:-?[0-9][0-9.]*(?:[dmt]+|-[a-z0-9_]+-linux.*|-intel64|-dbg)|-static)$`)

type search struct {
	allowed []string
	found   Finding
	ok      bool
}

func (s *search) report(program, arg string, index int) {
	if s.ok || slices.Contains(s.allowed, program) {
		return
	}
	if option, _, cut := strings.Cut(arg, "="); cut {
		arg = option // what follows may be a secret
	}
	s.found, s.ok = Finding{Program: program, Argument: arg, Index: index}, true
}

// program judges a command line whose arguments begin at index at of the whole.
func (s *search) program(command string, args []string, at, depth int) {
	name := Name(command)
	kind, known := programs[name]
	if !known || s.ok || depth > deepest {
		return
	}
	for i, arg := range args {
		if slices.Contains(kind.starters, arg) && i+1 < len(args) {
			s.program(args[i+1], upTo(args[i+2:], kind.ends), at+i+2, depth+1)
		}
	}
	if kind.starts {
		return
	}
	if kind.wraps {
		s.wrapper(name, kind, args, at, depth)
		s.shell(name, kind, args)
		return
	}
	s.interpreter(name, kind, args, at)
}

// upTo are the words before the first of the ends.
func upTo(words, ends []string) []string {
	if i := slices.IndexFunc(words, func(w string) bool { return slices.Contains(ends, w) }); i >= 0 {
		return words[:i]
	}
	return words
}

// interpreter looks at the options before the script. A word after an option may be its value or the script; it is taken
// for the script only when that is certain.
func (s *search) interpreter(name string, k kind, args []string, at int) {
	before, script := boolean, false // what the word before was
	for i, arg := range args {
		switch {
		case dataURL(arg), slices.Contains(k.words, arg), k.setting != nil && k.setting(arg):
			s.report(name, arg, at+i)
			return
		case k.isOption(arg):
			before = k.option(arg)
		case k.plus && strings.HasPrefix(arg, "+"):
			before = k.letters(strings.Trim(arg, "+")) // undoes the option, and comes before others like it
		case isInput(arg) && (arg != "-" || !k.plus): // to a shell - is the end of the options
			s.report(name, "", -1)
			return
		case arg == "-", slices.Contains(k.passed, arg):
			continue
		default:
			script = script || before != valued
			if before == boolean || before == unknown && k.looksLikeScript(arg) {
				if k.firstIsCode {
					s.report(name, "", -1)
				}
				return
			}
			before = boolean
			continue
		}
		switch before {
		case code:
			s.report(name, arg, at+i)
			return
		case module:
			s.module(name, args[i:], at+i)
			return
		case file:
			return
		}
	}
	s.standardInput(name, script, args)
}

// standardInput: without a script the code comes from there, which is what callers send.
func (s *search) standardInput(name string, script bool, args []string) {
	if !script && !asksOnly(args) {
		s.report(name, "", -1)
	}
}

// shell: a launcher without a command runs a shell on its standard input.
func (s *search) shell(name string, k kind, args []string) {
	if k.shells == nil {
		return
	}
	var words []string // that are neither options nor their values
	before := boolean
	for _, arg := range args {
		switch {
		case k.isOption(arg):
			before = k.option(arg)
			continue
		case before != valued:
			words = append(words, arg)
		}
		before = boolean
	}
	s.standardInput(name, !k.shells(words), args)
}

// asksOnly: the program is only asked for its version.
func asksOnly(args []string) bool {
	return len(args) > 0 && slices.ContainsFunc([]string{"--version", "-V", "-v", "--help", "-h"}, func(a string) bool { return slices.Contains(args, a) })
}

// running are modules of Python that run code of their arguments or of standard input.
var running = []string{
	"timeit", "pdb", "code", "cProfile", "profile", "trace", "asyncio", "_pyrepl", "IPython", "ipykernel", "idlelib", "bpython", "ptpython", "xonsh",
}

// module judges "-m NAME …" of Python.
func (s *search) module(name string, args []string, at int) {
	_, module, _ := strings.Cut(args[0], "m")
	if module == "" && len(args) > 1 {
		module = args[1]
	}
	if top, _, _ := strings.Cut(module, "."); slices.Contains(running, top) {
		s.report(name, "-m "+module, at)
	}
}

// wrapper looks for the programs that the arguments may name, and judges each as it would be started.
func (s *search) wrapper(name string, k kind, args []string, at, depth int) {
	operands, before, ended := k.operands, boolean, false
	for i, arg := range args {
		switch {
		case s.ok:
			return
		case slices.Contains(k.words, arg), k.setting != nil && k.setting(arg):
			s.report(name, arg, at+i)
			return
		case !ended && arg == "--":
			ended, before = true, boolean
			continue
		case !ended && k.isOption(arg):
			if before = k.option(arg); before == code || dataURL(arg) {
				s.report(name, arg, at+i)
				return
			}
			s.entrypoint(&k, args[i:], at+i, depth)
			continue
		case k.assignments && strings.Contains(arg, "="), arg == "-", slices.Contains(k.passed, arg):
			before = boolean
			continue
		}
		if !k.isImage(arg) {
			s.program(arg, args[i+1:], at+i+1, depth+1)
		}
		switch {
		case before != boolean: // it may have been the value of the option
			before = boolean
		case operands > 0:
			operands--
		default:
			if k.everywhere && !ended {
				s.rest(name, k, args[i+1:], at+i+1)
			}
			return
		}
	}
}

// rest looks for options that the wrapper takes also behind the program.
func (s *search) rest(name string, k kind, args []string, at int) {
	for i, arg := range args {
		switch {
		case arg == "--":
			return
		case k.isOption(arg) && k.option(arg) == code, k.setting != nil && k.setting(arg):
			s.report(name, arg, at+i)
			return
		}
	}
}

// entrypoint judges docker run --entrypoint PROGRAM … IMAGE ARGS: where the image stands is not known.
func (s *search) entrypoint(k *kind, args []string, at, depth int) {
	option, program, cut := strings.Cut(args[0], "=")
	if !k.container || option != "--entrypoint" || len(args) < 2 {
		return
	}
	if !cut {
		program = args[1]
	}
	for i := 2; i < len(args); i++ {
		s.program(program, args[i:], at+i, depth+1)
	}
}

// isImage tells an image of a registry, which may have the name of a program, from what is started in one.
func (k *kind) isImage(arg string) bool {
	return k.container && !strings.HasPrefix(arg, "/") && strings.Contains(arg, "/")
}

// inputs are names of standard input.
var inputs = []string{"-", "/dev/stdin", "/dev/fd/0", "/proc/self/fd/0", "/proc/thread-self/fd/0"}

func isInput(arg string) bool { return slices.Contains(inputs, path.Clean(arg)) }

// dataURL tells whether an argument is, or an option is set to, a URL that is code itself.
func dataURL(arg string) bool {
	if _, value, cut := strings.Cut(arg, "="); cut && isData(value) {
		return true
	}
	return isData(arg)
}

func isData(text string) bool { return strings.HasPrefix(url(text), "data:") }

// url is text as readers of URLs see it: without control characters, whatever the case.
func url(text string) string {
	text = strings.Map(func(r rune) rune {
		if r < ' ' {
			return -1
		}
		return r
	}, text)
	return strings.ToLower(strings.TrimSpace(text))
}
