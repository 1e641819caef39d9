//go:build !linux

package testenv

import "syscall"

// dying leaves it to the tests to end a process: only Linux ends it with them.
func dying() *syscall.SysProcAttr { return nil }
