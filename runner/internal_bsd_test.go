//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package runner

func withoutPidfd(c child, _ bool) child { return c }
