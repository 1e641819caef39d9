package launch

import (
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/runner"
)

// Findable tells why a program cannot be started for the server of that name, as far as that can be known without starting it.
func Findable(name string, s *v1.Server, command string) error {
	if strings.Contains(s.Cwd, "${") || !filepath.IsAbs(s.Cwd) { // it depends on the caller, or on where the gateway is started
		if strings.Contains(command, "/") && !filepath.IsAbs(command) {
			return nil
		}
		return find(name, s, command, "")
	}
	return find(name, s, command, s.Cwd)
}

// FindableHere is Findable for a gateway that is started in this folder.
func FindableHere(name string, s *v1.Server, command string) error {
	if strings.Contains(s.Cwd, "${") {
		return Findable(name, s, command)
	}
	return find(name, s, command, s.Cwd)
}

func find(name string, s *v1.Server, command, dir string) error {
	_, err := runner.Command{Server: name, Path: command, Dir: dir, Env: runner.Environ(os.LookupEnv, s.Env)}.Find()
	return err
}
