package runner

import (
	"errors"
	"os"
	"slices"
	"syscall"
)

// marker is the variable in the environment of every process of an instance that names the instance.
const marker = "TOOLCRIB_INSTANCE"

// spawning is how a process is started.
type spawning struct {
	path       string
	argv       []string
	env        []string
	dir        string
	files      []*os.File // its descriptors from 0 on
	group      *group
	namespaces bool // a user and a network namespace of its own
}

// spawn starts a program as leader of a new process group.
func spawn(s spawning) (child, error) {
	attr := &syscall.ProcAttr{Dir: s.dir, Env: s.env}
	for _, f := range s.files {
		attr.Files = append(attr.Files, f.Fd())
	}
	return launch(s, attr)
}

// environment is that of the command in its directory.
func (c Command) environment() []string {
	if c.Dir == "" {
		return c.Env
	}
	return append(slices.Clip(c.Env), "PWD="+c.Dir)
}

// reap collects the exit status of an ended child.
func reap(pid int) syscall.WaitStatus {
	defer disown(pid)
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return status
		}
	}
}
