package launch

import (
	"context"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// golang gets programs by go install. The Go command checks modules against its checksum database.
type golang struct{}

func (g golang) resolve(ctx context.Context, t tool, p v1.Package) (*Entry, error) {
	return g.build(ctx, t, p.Spec())
}

func (g golang) install(ctx context.Context, t tool, p v1.Package, e *Entry) error {
	got, err := g.build(ctx, t, p.Name+"@"+e.Version)
	if err != nil {
		return err
	}
	if got.Integrity != e.Integrity || got.Digest != e.Digest {
		return fmt.Errorf("is another at the proxy (%s) than the lock file pins (%s)", got.Integrity, e.Integrity)
	}
	e.Bin = got.Bin
	return nil
}

// build installs a program and reads from it what it was built from.
func (golang) build(ctx context.Context, t tool, spec string) (*Entry, error) {
	bin := filepath.Join(t.dir, "bin")
	// A target of its own (GOOS) cannot be installed with GOBIN, nor could it be run here.
	t.env = append(without(t.env, "GOOS", "GOARCH", "GOFLAGS", "GOWORK"), "GOBIN="+bin, "GOFLAGS=-mod=mod", "GOWORK=off", "GO111MODULE=on")
	if _, err := t.run(ctx, "go", "install", "-trimpath", spec); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(bin)
	if err != nil || len(files) != 1 {
		return nil, errNoProgram
	}
	info, err := buildinfo.ReadFile(filepath.Join(bin, files[0].Name()))
	if err != nil {
		return nil, err
	}
	if info.Main.Sum == "" || info.Main.Version == "" {
		return nil, errors.New("was built from a module without a checksum")
	}
	name, _, _ := strings.Cut(spec, "@")
	return &Entry{
		Version: info.Main.Version, Integrity: info.Main.Sum, Bin: path.Join("bin", files[0].Name()),
		Digest: digestOf([]byte(name + "\n" + info.Main.Path + "\n" + info.Main.Version + "\n" + info.Main.Sum + "\n")),
	}, nil
}
