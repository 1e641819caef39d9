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
	files      []*os.File // its descriptors from 0 on
	group      *group
	namespaces bool // a user and a network namespace of its own
}

// spawn starts a program in the directory and with the environment of a command, as leader of a new process group.
func spawn(s spawning, c Command) (child, error) {
	env := c.Env
	if c.Dir != "" {
		env = append(slices.Clip(env), "PWD="+c.Dir)
	}
	attr := &syscall.ProcAttr{Dir: c.Dir, Env: env}
	for _, f := range s.files {
		attr.Files = append(attr.Files, f.Fd())
	}
	return launch(s, attr)
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
