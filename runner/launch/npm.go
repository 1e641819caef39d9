package launch

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// npm gets packages by npm. Their install scripts are not run unless the entry says so: they run whatever the author
// of any dependency likes, and few servers need them.
type npm struct{}

// npmFlags keep npm from doing what nobody asked for. Hosts of registries stay out of the lock file, so that others can
// use a mirror.
var npmFlags = []string{"--no-audit", "--no-fund", "--no-update-notifier", "--omit=dev", "--omit-lockfile-registry-resolved", "--loglevel=error"}

func (npm) flags(e *Entry) []string {
	if e.Scripts {
		return append([]string{"--no-ignore-scripts"}, npmFlags...)
	}
	return append([]string{"--ignore-scripts"}, npmFlags...)
}

// wrapping is the package.json of the folder, which has the package as its only dependency.
func (npm) wrapping(dir, name, version string) error {
	data, err := json.Marshal(map[string]any{
		"name": "toolcrib-package", "version": "0.0.0", "private": true, "dependencies": map[string]string{name: version},
	})
	if err != nil {
		return err
	}
	return put(filepath.Join(dir, "package.json"), data)
}

const npmLock = "package-lock.json"

func (n npm) resolve(ctx context.Context, t tool, p v1.Package) (*Entry, error) {
	version := p.Version
	if version == "" {
		version = "latest"
	}
	if err := n.wrapping(t.dir, p.Name, version); err != nil {
		return nil, err
	}
	if _, err := t.run(ctx, "npm", append([]string{"install", "--package-lock-only"}, n.flags(&Entry{})...)...); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(filepath.Join(t.dir, npmLock))
	if err != nil {
		return nil, err
	}
	lock, err := trimmed(data)
	if err != nil {
		return nil, fmt.Errorf("%s that npm wrote: %w", npmLock, err)
	}
	self := lock.Packages["node_modules/"+p.Name]
	e := &Entry{Version: text(self["version"]), Integrity: text(self["integrity"])}
	if e.Version == "" || e.Integrity == "" {
		return nil, errors.New("has no version or no integrity at its registry")
	}
	// What was asked for is exact from now on.
	lock.Packages[""]["dependencies"] = map[string]any{p.Name: e.Version}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(lock); err != nil {
		return nil, err
	}
	e.NPM = compact(b.Bytes())
	e.Digest = digestOf(e.NPM)
	return e, nil
}

// compact is JSON without the white space that the lock file has it with.
func compact(data []byte) []byte {
	var b bytes.Buffer
	if err := json.Compact(&b, data); err != nil {
		return nil // which has no known digest
	}
	return b.Bytes()
}

// npmLockfile is a package-lock.json.
type npmLockfile struct {
	Name            string                    `json:"name"`
	Version         string                    `json:"version"`
	LockfileVersion int                       `json:"lockfileVersion"`
	Requires        bool                      `json:"requires"`
	Packages        map[string]map[string]any `json:"packages"`
}

// decorations are members of a lock file that change nothing.
var decorations = []string{"license", "funding", "engines", "deprecated"}

func trimmed(data []byte) (*npmLockfile, error) {
	var lock npmLockfile
	if err := json.Unmarshal(data, &lock); err != nil {
		return nil, err
	}
	if lock.Packages[""] == nil {
		return nil, errors.New("names no packages")
	}
	for at, p := range lock.Packages {
		maps.DeleteFunc(p, func(key string, _ any) bool { return slices.Contains(decorations, key) })
		// Without a hash npm takes what comes.
		if _, linked := p["link"]; at != "" && text(p["integrity"]) == "" && p["inBundle"] != true && !linked {
			return nil, fmt.Errorf("%s has no integrity", at)
		}
	}
	return &lock, nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

func (n npm) install(ctx context.Context, t tool, p v1.Package, e *Entry) error {
	lock := compact(e.NPM)
	if digestOf(lock) != e.Digest {
		return errors.New("has a lock entry whose digest is not that of its dependencies; take the lock file from version control, or pull with --update")
	}
	if err := n.wrapping(t.dir, p.Name, e.Version); err != nil {
		return err
	}
	if err := put(filepath.Join(t.dir, npmLock), lock); err != nil {
		return err
	}
	args := append([]string{"ci"}, n.flags(e)...)
	_, err := t.run(ctx, "npm", args...)
	if err != nil && strings.Contains(err.Error(), "ETARGET") {
		_, err = t.run(ctx, "npm", append(args, "--prefer-online")...) // npm's cache is older than a version that is pinned
	}
	if err != nil {
		return err
	}
	// npm's own note of what it installed differs between its versions.
	if err := os.RemoveAll(filepath.Join(t.dir, "node_modules", ".package-lock.json")); err != nil {
		return err
	}
	bin, err := n.program(t.dir, p.Name)
	if err != nil {
		return err
	}
	e.Bin = bin
	return nil
}

// program is the file that npx would run.
func (npm) program(dir, name string) (string, error) {
	folder := path.Join("node_modules", name)
	data, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(folder), "package.json"))
	if err != nil {
		return "", err
	}
	var manifest struct {
		Bin any `json:"bin"`
	}
	if err := json.Unmarshal(data, &manifest); err != nil {
		return "", fmt.Errorf("package.json: %w", err)
	}
	at := ""
	switch bin := manifest.Bin.(type) {
	case string:
		at = bin
	case map[string]any:
		chosen, err := only(slices.Collect(maps.Keys(bin)), path.Base(name))
		if err != nil {
			return "", err
		}
		at = text(bin[chosen])
	}
	if at == "" {
		return "", errNoProgram
	}
	if at = path.Clean(at); !filepath.IsLocal(at) {
		return "", fmt.Errorf("has the program %q, which is not within it", at)
	}
	return path.Join(folder, at), nil
}

// command is how the program is started: by node when its first line says so, and by itself otherwise.
func (npm) command(dir string, e *Entry) (string, []string, error) {
	full := filepath.Join(dir, filepath.FromSlash(e.Bin))
	f, err := os.Open(full)
	if err != nil {
		return "", nil, err
	}
	defer f.Close()
	head := make([]byte, 64)
	n, _ := f.Read(head)
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	if strings.TrimSpace(line) == "#!/usr/bin/env node" {
		return "node", []string{full}, nil
	}
	return full, nil, nil
}
