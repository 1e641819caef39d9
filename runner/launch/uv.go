package launch

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// uv gets Python packages by uv, into an environment of their own, with the hash of each file that is downloaded.
type uv struct{}

const (
	wanted       = "requirements.in"
	requirements = "requirements.txt"
	venv         = "venv"
)

func (uv) resolve(ctx context.Context, t tool, p v1.Package) (*Entry, error) {
	if err := put(filepath.Join(t.dir, wanted), []byte(p.Spec()+"\n")); err != nil {
		return nil, err
	}
	out, err := t.run(ctx, "uv", "pip", "compile", wanted, "--universal", "--generate-hashes", "--no-header", "--no-annotate", "--quiet")
	if err != nil {
		return nil, err
	}
	e := &Entry{Requirements: lines(out)}
	if err := hashed(e.Requirements); err != nil {
		return nil, err
	}
	for _, line := range e.Requirements {
		if found := pinned.FindStringSubmatch(line); found != nil && canonical(found[1]) == canonical(p.Name) {
			e.Version = found[2]
		}
	}
	if e.Version == "" {
		return nil, errors.New("is not among what uv resolved")
	}
	e.Digest = digestOf([]byte(strings.Join(e.Requirements, "\n")))
	return e, nil
}

var (
	pinned     = regexp.MustCompile(`^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?==([^\s;\\]+)`)
	separators = regexp.MustCompile(`[-_.]+`)
)

// hashed makes sure that each requirement has a hash: uv then takes nothing else.
func hashed(requirements []string) error {
	open := ""
	for _, line := range append(slices.Clone(requirements), "") {
		if strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			if strings.Contains(line, "--hash=sha256:") {
				open = ""
			}
			continue
		}
		if open != "" {
			return fmt.Errorf("needs %s, for which the index gives no hash", open)
		}
		if found := pinned.FindStringSubmatch(line); found != nil {
			open = found[1]
		} else if line != "" {
			return fmt.Errorf("needs %q, which is no exact version", line)
		}
		if strings.Contains(line, "--hash=sha256:") {
			open = ""
		}
	}
	return nil
}

// canonical is the name of a package as PyPI compares it, without extras.
func canonical(name string) string {
	name, _, _ = strings.Cut(name, "[")
	return strings.ToLower(separators.ReplaceAllString(name, "-"))
}

func lines(out []byte) []string {
	var all []string
	for scan := bufio.NewScanner(bytes.NewReader(out)); scan.Scan(); {
		if line := strings.TrimRight(scan.Text(), " \r"); line != "" && !strings.HasPrefix(line, "#") {
			all = append(all, line)
		}
	}
	return all
}

func (u uv) install(ctx context.Context, t tool, p v1.Package, e *Entry) error {
	text := strings.Join(e.Requirements, "\n")
	if digestOf([]byte(text)) != e.Digest {
		return errors.New("has a lock entry whose digest is not that of its requirements; take the lock file from version control, or pull with --update")
	}
	if err := hashed(e.Requirements); err != nil {
		return err
	}
	if err := put(filepath.Join(t.dir, requirements), []byte(text+"\n")); err != nil {
		return err
	}
	if _, err := t.run(ctx, "uv", "venv", "--no-project", venv); err != nil {
		return err
	}
	// Copies, for a link to uv's cache would change with it; compiled here, for Python would do it on the first start.
	_, err := t.run(ctx, "uv", "pip", "install", "--python", path.Join(venv, "bin", "python"), "--require-hashes", "--link-mode", "copy", "--compile-bytecode",
		"-r", requirements)
	if err != nil {
		return err
	}
	e.Bin, err = u.program(t.dir, canonical(p.Name), e.Version)
	return err
}

// program is the script that uvx would run: the entry point of the package's own name, or its only one.
func (uv) program(dir, name, version string) (string, error) {
	infos, err := filepath.Glob(filepath.Join(dir, venv, "lib", "*", "site-packages", "*.dist-info"))
	if err != nil {
		return "", err
	}
	for _, info := range infos {
		is, _, _ := strings.Cut(filepath.Base(info), "-")
		if canonical(is) != name {
			continue
		}
		data, err := os.ReadFile(filepath.Join(info, "entry_points.txt"))
		if err != nil {
			return "", errNoProgram
		}
		chosen, err := only(scripts(data), name)
		return path.Join(venv, "bin", chosen), err
	}
	return "", fmt.Errorf("%s %s was not installed", name, version)
}

// scripts are the names of the section console_scripts.
func scripts(data []byte) []string {
	var names []string
	section := ""
	for scan := bufio.NewScanner(bytes.NewReader(data)); scan.Scan(); {
		line := strings.TrimSpace(scan.Text())
		name, _, has := strings.Cut(line, "=")
		switch {
		case strings.HasPrefix(line, "["):
			section = line
		case has && section == "[console_scripts]":
			names = append(names, strings.TrimSpace(name))
		}
	}
	return names
}
