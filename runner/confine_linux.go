package runner

import (
	"errors"
	"fmt"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// apply confines this process, in an order in which no step keeps a later one from being taken.
func (c *confinement) apply() error {
	if err := c.tie(); err != nil {
		return err
	}
	if c.Sandbox != nil {
		if err := c.Sandbox.enter(); err != nil {
			return err
		}
	}
	if err := c.become(); err != nil {
		return err
	}
	if err := c.tie(); err != nil { // becoming another user undid it
		return err
	}
	if c.Sandbox != nil {
		if err := c.Sandbox.lock(c.User == nil); err != nil {
			return err
		}
	}
	return c.rlimits()
}

// tie has this thread, and so the command, end with the program.
func (c *confinement) tie() error {
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(syscall.SIGKILL), 0, 0, 0); err != nil {
		return fmt.Errorf("parent-death signal: %w", err)
	}
	if os.Getppid() != c.Parent {
		return errors.New("the program has ended")
	}
	return nil
}

// become becomes another user, who cannot come by other rights any more.
func (c *confinement) become() error {
	if c.User == nil {
		return nil
	}
	if err := becomeUser(c.User); err != nil {
		return fmt.Errorf("user %s: %w: root without the capabilities SETUID and SETGID cannot become another user", c.User.Name, err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	for _, file := range c.Needs {
		if err := unix.Access(file, unix.R_OK); errors.Is(err, unix.EACCES) && unix.Access(file, unix.X_OK) != nil {
			return fmt.Errorf("user %s cannot get at %s: let others read it and enter the directories above it (chmod o+x), or keep it elsewhere", c.User.Name, file)
		}
	}
	return nil
}

func (c *confinement) rlimits() error {
	for _, l := range []struct {
		what  int
		value uint64
		name  string
	}{
		{unix.RLIMIT_NOFILE, uint64(max(0, c.Files)), "files"},
		{unix.RLIMIT_DATA, c.Data, "memory"},
		{unix.RLIMIT_NPROC, c.Procs, "pids"},
	} {
		if err := lower(l.what, l.value); err != nil {
			return fmt.Errorf("resources.%s: %w", l.name, err)
		}
	}
	return nil
}

// lower sets a limit of this process; one that is lower already stays.
func lower(what int, value uint64) error {
	if value == 0 {
		return nil
	}
	var old syscall.Rlimit
	if err := syscall.Getrlimit(what, &old); err != nil {
		return err
	}
	value = min(value, old.Max)
	return syscall.Setrlimit(what, &syscall.Rlimit{Cur: value, Max: value})
}
