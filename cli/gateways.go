package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/source"
)

// gateways are those that run on this machine with one state directory.
type gateways struct {
	StateDir string `placeholder:"DIR" env:"TOOLCRIB_STATE_DIR" help:"State directory of the gateway (default: that of FILE, else of serve and run)."`
}

// dir is the state directory that the flag or its variable, the file or the defaults name.
// A file that nobody could serve as it is will do, which notes say.
func (g *gateways) dir(notes io.Writer, file string) (string, error) {
	switch rest, home := strings.CutPrefix(g.StateDir, "~/"); {
	case home: // as the variable may be written for serve
		return filepath.Join(os.Getenv("HOME"), rest), nil
	case g.StateDir != "":
		return g.StateDir, nil
	case file == "":
		return v1.New().StateDir, nil
	}
	f := &source.File{Path: file}
	c, err := f.Load()
	if err == nil {
		return c.StateDir, nil
	}
	dir, err2 := f.StateDir()
	if err2 != nil {
		return "", fileError(err2)
	}
	_, _ = fmt.Fprintf(notes, "toolcrib: %s has problems, which \"toolcrib validate\" shows; its state directory is %s\n", file, dir)
	return dir, nil
}

// find returns the gateways that run; there is at least one. They are to be closed.
func (g *gateways) find(ctx context.Context, notes io.Writer, file string) ([]*control.Client, error) {
	dir, err := g.dir(notes, file)
	if err != nil {
		return nil, err
	}
	all, err := control.Find(ctx, dir)
	switch {
	case err != nil:
		return nil, fmt.Errorf("cannot look into the gateway: %w; only the user that runs it can", err)
	case len(all) == 0:
		return nil, fmt.Errorf("no gateway runs with the state directory %s; start one with \"toolcrib serve FILE\", or name its directory: --state-dir DIR", dir)
	}
	return all, nil
}

func closeAll(all []*control.Client) {
	for _, c := range all {
		c.Close()
	}
}
