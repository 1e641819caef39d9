package runner

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// place is what an instance has besides its process: what holds all its processes, its directories,
// and the way its command is confined.
type place struct {
	group   *group
	own     string // its directory, empty for none
	confine *confinement
	argv    []string // of the launcher that does the confining
}

// settle makes the place of a command, whose program is at path, and has the command use it.
func settle(c *Command, path string, o Options) (*place, error) {
	if err := c.Limits.check(); err != nil {
		return nil, c.refused("%w", err)
	}
	as, err := findAccount(c.User)
	if err != nil {
		return nil, c.refused("%w", err)
	}
	p := &place{argv: o.Confine}
	if p.group, err = homes.hold(c.Limits); err != nil {
		return nil, c.refused("%w", err)
	}
	if p.own, err = homes.give(p.group.name, o.Dirs, c, as); err == nil {
		c.Env = append(as.environment(slices.Clip(c.Env)), marker+"="+p.group.id)
		err = p.bound(*c, path, as)
	}
	if err != nil {
		return nil, c.refused("%w", errors.Join(err, p.leave()))
	}
	return p, nil
}

// bound finds out what the launcher has to do, if anything.
func (p *place) bound(c Command, path string, as *account) error {
	left := p.group.watched()
	confine := &confinement{
		Path: []byte(path), Argv: exact(append([]string{c.Path}, c.Args...)), Env: exact(c.environment()),
		Parent: os.Getpid(), User: as, Files: c.Limits.Files,
	}
	if as != nil {
		confine.Needs = c.files(path)
	}
	confine.Data = dataLimit(left.Memory)
	var err error
	if confine.Procs, err = procLimit(left.Pids, as); err != nil {
		return err
	}
	if c.Sandbox != nil {
		if err := canSandbox(); err != nil {
			return err
		}
		if confine.Sandbox, err = c.Sandbox.prepare(c, path, p.own); err != nil {
			return err
		}
		confine.Sandbox.Own = confine.Sandbox.ownNamespaces()
	}
	needed := confine.Files > 0 || confine.Data > 0 || confine.Procs > 0 || as != nil || c.Sandbox != nil
	if !needed && (len(p.argv) == 0 || !p.group.late()) {
		return nil
	}
	if len(p.argv) == 0 {
		return errors.New("user, resources and sandbox take a launcher, and this program names none")
	}
	p.confine = confine
	return nil
}

// files are the program and, where its first argument is one, a script: without them nothing runs.
func (c Command) files(path string) []string {
	files := []string{path}
	if len(c.Args) > 0 && filepath.IsAbs(c.Args[0]) {
		if info, err := os.Stat(c.Args[0]); err == nil && info.Mode().IsRegular() {
			files = append(files, c.Args[0])
		}
	}
	return files
}

// dataLimit is the bound of the data of one process where no control group bounds the memory of all:
// it stops what allocates faster than the watch looks, and leaves room for what is reserved and not used.
func dataLimit(memory uint64) uint64 {
	if memory == 0 {
		return 0
	}
	return 2*memory + 256<<20
}

// procLimit is the bound of the processes of the user where no control group bounds those of the
// instance: it stops what forks faster than the watch looks. The system does not hold root to it.
func procLimit(pids int, as *account) (uint64, error) {
	if pids == 0 {
		return 0, nil
	}
	uid := os.Geteuid()
	if as != nil {
		uid = as.UID
	}
	if uid == 0 {
		return 0, errors.New("resources.pids: root's processes can be bounded in a control group only, and there is none that this program may make: " +
			"give the server another user, delegate a control group (systemd: Delegate=yes), or remove resources.pids")
	}
	return uint64(processesOf(uid) + 2*pids + 64), nil
}

// start starts the command in its place.
func (p *place) start(path string, c Command, files [3]*os.File) (child, error) {
	s := spawning{path: path, argv: append([]string{c.Path}, c.Args...), env: c.environment(), dir: c.Dir, files: files[:], group: p.group}
	if p.confine == nil {
		return spawn(s)
	}
	l, err := newLauncher()
	if err != nil {
		return child{}, err
	}
	defer l.close()
	if s.path, err = (Command{Server: c.Server, Path: p.argv[0]}).resolve(); err != nil {
		return child{}, err
	}
	s.argv, s.files = p.argv, append(s.files, l.childSpec, l.childStatus)
	s.env = []string{marker + "=" + p.group.id}
	s.namespaces = p.confine.Sandbox != nil && p.confine.Sandbox.Own
	started, err := spawn(s)
	if err != nil {
		return child{}, fmt.Errorf("%w: %w", errLauncher, err)
	}
	if err := l.run(*p.confine); err != nil {
		signalGroup(started.pid, syscall.SIGKILL)
		started.awaitExit()
		reap(started.pid)
		started.release()
		return child{}, err
	}
	return started, nil
}

// leave ends what is left of an instance and gives everything back.
func (p *place) leave() error { return errors.Join(p.group.end(), p.vacate()) }

// vacate gives everything back after the group has ended.
func (p *place) vacate() error {
	defer homes.release()
	if p.own == "" {
		return nil
	}
	return removeTree(p.own)
}
