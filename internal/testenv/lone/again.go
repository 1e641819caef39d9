package main

import (
	"os"
	"os/exec"
)

// again is the program once more, with the arguments of this one and another behaviour.
func again(as string) *exec.Cmd {
	cmd := exec.Command("/proc/self/exe", append(os.Args[1:], "-as", as)...) //nolint:noctx // it is to outlive everything
	cmd.Stderr = os.Stderr
	return cmd
}
