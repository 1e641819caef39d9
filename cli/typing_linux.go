package cli

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// hideTyping prompts for a secret and keeps it from showing while it is typed, where somebody types.
func hideTyping(sys *system, prompt string) (restore func()) {
	f, ok := sys.stdin.(*os.File)
	if !ok {
		return func() {}
	}
	was, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	if err != nil {
		return func() {} // no terminal
	}
	_, _ = fmt.Fprint(sys.stderr, prompt)
	hidden := *was
	hidden.Lflag &^= unix.ECHO
	_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, &hidden)
	return func() {
		_ = unix.IoctlSetTermios(int(f.Fd()), unix.TCSETS, was)
		_, _ = fmt.Fprintln(sys.stderr)
	}
}
