package runner

import (
	"errors"
	"os"
	"slices"
	"syscall"
)

// spawn starts the program with the given descriptors 0, 1 and 2, as leader of a new process group.
func spawn(path string, c Command, files [3]*os.File) (child, error) {
	env := c.Env
	if c.Dir != "" {
		env = append(slices.Clip(env), "PWD="+c.Dir)
	}
	attr := &syscall.ProcAttr{Dir: c.Dir, Env: env}
	for _, f := range files {
		attr.Files = append(attr.Files, f.Fd())
	}
	return launch(path, append([]string{c.Path}, c.Args...), attr)
}

// reap collects the exit status of an ended child.
func reap(pid int) syscall.WaitStatus {
	var status syscall.WaitStatus
	for {
		_, err := syscall.Wait4(pid, &status, 0, nil)
		if !errors.Is(err, syscall.EINTR) {
			return status
		}
	}
}
