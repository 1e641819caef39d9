package doctor

import (
	"context"
	"errors"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// launcher is a program that starts servers, and that must itself be there and new enough.
type launcher struct {
	names []string
	// program with args tells its version, in words that begin with it or hold it.
	program string
	args    []string
	// least is the first version that servers of today run on, major and minor.
	least [2]int
	// install says where it comes from.
	install string
}

var launchersKnown = []launcher{
	{[]string{"npx", "npm", "node", "pnpm", "pnpx", "yarn"}, "node", []string{"--version"}, [2]int{18, 0}, "install Node.js 22 or later: https://nodejs.org"},
	{[]string{"uvx", "uv"}, "uv", []string{"--version"}, [2]int{0, 4}, "install uv: https://docs.astral.sh/uv"},
	{[]string{"docker"}, "docker", []string{"version", "--format", "{{.Server.Version}}"}, [2]int{20, 10}, "start Docker, and let this user speak with it"},
	{[]string{"python", "python3"}, "python3", []string{"--version"}, [2]int{3, 10}, "install Python 3.10 or later"},
}

// launchers looks whether what servers are started with is there.
func launchers(ctx context.Context, p *patient, n *notes) {
	l := launch.New(p.config, nil)
	needed := map[string]bool{}
	commands := 0
	for _, name := range p.config.ServerNames() {
		s := p.config.MCPServers[name]
		if s.Type != v1.TypeStdio {
			continue
		}
		commands++
		command, problem := l.Needs(s)
		if problem != "" {
			n.packaged(name, problem)
		}
		if command != "" {
			needed[path.Base(command)] = true
			n.findable(name, s, command)
		}
		p.approved(n, name, s)
	}
	if commands == 0 {
		n.skip("", "no server is a command")
		return
	}
	versions := p.versions(ctx, n, needed)
	if n.well() {
		n.pass("", "%s", strings.Join(append([]string{count(commands, "command") + " can be started"}, versions...), "; "))
	}
}

// findable looks whether a program is there. One that is named from a folder is looked for from where doctor runs.
func (n *notes) findable(name string, s *v1.Server, command string) {
	err := launch.FindableHere(name, s, command)
	if err == nil {
		return
	}
	said := strings.TrimPrefix(err.Error(), "server "+strconv.Quote(name)+": ")
	if launch.Findable(name, s, command) != nil {
		n.told(Fail, "server "+name, said, "install it, or correct mcpServers."+name)
		return
	}
	text, _, _ := strings.Cut(said, ": ")
	n.fail("server "+name, "give the full path in mcpServers."+name+", or start the gateway, and doctor, in the folder that it is in",
		"%s; it is looked for from the folder that the gateway is started in, here that of doctor", text)
}

// packaged notes what is wrong with a package. One that works without being pulled is only worth a warning.
func (n *notes) packaged(name, problem string) {
	status := Fail
	if strings.HasPrefix(problem, "is not pulled") {
		status = Warn
	}
	text, remedy := problem, "run toolcrib pull"
	for _, sep := range []string{"; ", ": "} {
		if i := strings.LastIndex(problem, sep+"run "); i > 0 {
			text, remedy = problem[:i], problem[i+len(sep):]
		}
	}
	n.add(status, "server "+name, remedy, "the package %s", []any{text})
}

// approved looks whether a command may be started.
func (p *patient) approved(n *notes, name string, s *v1.Server) {
	if p.config.Launch.Approval != v1.ApprovalRequired {
		return
	}
	lock, err := launch.ReadLock(p.config.LockFile())
	if err != nil {
		return // which configuration tells
	}
	if ok, why, err := lock.Approved(name, s); err != nil {
		n.told(Fail, "server "+name, err.Error(), "run toolcrib approve")
	} else if !ok {
		n.fail("server "+name, "review it with toolcrib approve", "%s, so that it will not be started", why)
	}
}

// versions asks the launchers that are needed, and are there, for their versions.
func (p *patient) versions(ctx context.Context, n *notes, needed map[string]bool) []string {
	results := make([]notes, len(launchersKnown))
	var all sync.WaitGroup
	for i, l := range launchersKnown {
		results[i].check = n.check
		if !slices.ContainsFunc(l.names, func(name string) bool { return needed[name] }) {
			continue
		}
		if path, err := exec.LookPath(l.program); err == nil {
			all.Go(func() { l.ask(ctx, &results[i], path) })
		}
	}
	all.Wait()
	var good []string
	for i := range results {
		for _, f := range results[i].all {
			if f.Status == Pass {
				good = append(good, f.Text)
			} else {
				n.all = append(n.all, f)
			}
		}
	}
	return good
}

// ask finds the version of a launcher.
func (l *launcher) ask(ctx context.Context, n *notes, path string) {
	cmd := exec.CommandContext(ctx, path, l.args...)
	cmd.WaitDelay = grace
	out, err := cmd.Output()
	if err != nil {
		said := err.Error()
		if e, ok := errors.AsType[*exec.ExitError](err); ok && len(e.Stderr) > 0 {
			said = lastLine(string(e.Stderr))
		}
		n.fail(l.names[0], l.install, "%s does not tell its version: %s", l.program, said)
		return
	}
	text := lastLine(string(out))
	version, ok := versionIn(text)
	if ok && (version[0] < l.least[0] || version[0] == l.least[0] && version[1] < l.least[1]) {
		n.warn(l.names[0], l.install, "%s is of version %d.%d, older than %d.%d, which servers expect", l.program, version[0], version[1], l.least[0], l.least[1])
		return
	}
	n.pass("", "%s %s", l.program, strings.TrimPrefix(text, l.program+" "))
}

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// versionIn finds the first two numbers of a version.
func versionIn(text string) (version [2]int, ok bool) {
	for word := range strings.FieldsSeq(text) {
		major, rest, dotted := strings.Cut(strings.TrimPrefix(word, "v"), ".")
		minor, _, _ := strings.Cut(rest, ".")
		a, err := strconv.Atoi(major)
		b, err2 := strconv.Atoi(minor)
		if dotted && err == nil && err2 == nil {
			return [2]int{a, b}, true
		}
	}
	return version, false
}
