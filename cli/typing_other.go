//go:build !linux

package cli

import "fmt"

// hideTyping prompts for a secret. Here it shows while it is typed.
func hideTyping(sys *system, prompt string) (restore func()) {
	_, _ = fmt.Fprint(sys.stderr, prompt)
	return func() { _, _ = fmt.Fprintln(sys.stderr) }
}
