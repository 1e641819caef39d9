package testenv

import "syscall"

// dying has a process end with the tests, however these do.
func dying() *syscall.SysProcAttr { return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} }
