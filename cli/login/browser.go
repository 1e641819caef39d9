package login

import (
	"context"
	"fmt"
	"os/exec"
	"runtime"
)

// Open shows an address in the person's browser. The address is checked once more, and handed over as an argument of a program:
// no shell reads it. The program is left to itself, since the browser may be a part of it.
func Open(ctx context.Context, address string) error {
	if _, err := safe(address); err != nil {
		return err
	}
	argv := opener(address)
	if argv == nil {
		return fmt.Errorf("no way to open a browser on %s", runtime.GOOS)
	}
	cmd := exec.CommandContext(context.WithoutCancel(ctx), argv[0], argv[1:]...)
	if err := cmd.Start(); err != nil {
		return err
	}
	return cmd.Process.Release()
}

func opener(address string) []string {
	switch runtime.GOOS {
	case "darwin":
		return []string{"open", address}
	case "windows":
		return []string{"rundll32", "url.dll,FileProtocolHandler", address}
	case "linux", "freebsd", "openbsd", "netbsd":
		return []string{"xdg-open", address}
	}
	return nil
}
