package cli

import (
	"os"

	"github.com/toolcrib/toolcrib/runner"
)

// confineCommand is how the program starts the launcher of confined servers.
// Without a path to itself there is none, and such servers are refused.
func confineCommand() []string {
	self, err := os.Executable()
	if err != nil {
		return nil
	}
	return []string{self, "confine"}
}

type confineCmd struct{}

// Run does not return when it can become the command.
func (confineCmd) Run() error { return runner.Confine() }
