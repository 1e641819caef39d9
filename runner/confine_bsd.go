//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package runner

import (
	"fmt"
	"syscall"
)

func (c *confinement) apply() error {
	if c.Files > 0 {
		n := uint64(c.Files)
		if err := limitFiles(n); err != nil {
			return fmt.Errorf("resources.files: %w", err)
		}
	}
	if c.User == nil {
		return nil
	}
	if err := becomeUser(c.User); err != nil {
		return fmt.Errorf("user %s: %w", c.User.Name, err)
	}
	return nil
}

// limitFiles bounds the descriptors of this process.
func limitFiles(n uint64) error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return err
	}
	lowerBoth(&r.Cur, &r.Max, n)
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &r)
}

func lowerBoth[T int64 | uint64](now, most *T, n uint64) {
	*most = min(*most, T(n))
	*now = *most
}
