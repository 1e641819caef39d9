//go:build unix

package runner

import "syscall"

// becomeUser drops to a user, its group and no other groups.
func becomeUser(a *account) error {
	if err := syscall.Setgroups([]int{}); err != nil {
		return err
	}
	if err := syscall.Setgid(a.GID); err != nil {
		return err
	}
	return syscall.Setuid(a.UID)
}
