//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package runner_test

var systemRoles = map[string]func(string){}
