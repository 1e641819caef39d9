package v1

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// maxReference bounds the file that a ${file:…} refers to, in bytes.
const maxReference = 1 << 20

// expand replaces the references of a value: ${NAME}, ${env:NAME},
// ${NAME:-default} and ${file:/path}. $${ stands for a literal ${. What a
// reference yields is not expanded again. ${userHome} of the editors is HOME.
func expand(s string, opts *Options) (string, []error) {
	var out strings.Builder
	var errs []error
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			out.WriteString(s)
			return out.String(), errs
		}
		if i > 0 && s[i-1] == '$' {
			out.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		out.WriteString(s[:i])
		ref, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", append(errs, errors.New(`has "${" without "}"; write $${ for a literal "${"`))
		}
		value, err := resolve(ref, opts)
		if err != nil {
			errs = append(errs, err)
		}
		out.WriteString(value)
		s = rest
	}
}

func resolve(ref string, opts *Options) (string, error) {
	if path, ok := strings.CutPrefix(ref, "file:"); ok {
		return resolveFile(path, opts)
	}
	name, fallback, hasFallback := strings.Cut(strings.TrimPrefix(ref, "env:"), ":-")
	editors := editorVariable(ref)
	if !isEnvName(name) {
		if editors != "" {
			return "", errors.New(editors)
		}
		return "", fmt.Errorf("has the reference ${%s}, which is not known; write ${NAME}, ${env:NAME}, ${NAME:-default} or ${file:/path}, "+
			`and $${ for a literal "${"`, clip(ref))
	}
	value, ok := opts.Env(name)
	switch {
	case hasFallback && value == "":
		return fallback, nil
	case !ok && ref == "userHome":
		return resolve("env:HOME", opts)
	case !ok && editors != "":
		return "", errors.New(editors)
	case !ok:
		return "", fmt.Errorf("needs the environment variable %s, which is not set; set it, or give a default: ${%s:-value}", name, name)
	}
	return value, nil
}

func resolveFile(path string, opts *Options) (string, error) {
	if path == "" {
		return "", errors.New("has ${file:} without a path; write ${file:/path}")
	}
	if !filepath.IsAbs(path) {
		path = filepath.Join(opts.Dir, path)
	}
	data, err := opts.ReadFile(path)
	switch pathErr, _ := errors.AsType[*fs.PathError](err); {
	case pathErr != nil:
		return "", fmt.Errorf("needs the file %s, which cannot be read: %w", path, pathErr.Err)
	case err != nil:
		return "", fmt.Errorf("needs the file %s, which cannot be read: %w", path, err)
	case len(data) > maxReference:
		return "", fmt.Errorf("needs the file %s, which is larger than %s", path, Size(maxReference))
	}
	return strings.TrimSpace(string(data)), nil
}

// readFile reads a regular file, a byte more than is allowed at most.
func readFile(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err != nil {
		return nil, err
	}
	// A pipe or a device could block for ever.
	if !info.Mode().IsRegular() {
		return nil, errors.New("it is not a regular file")
	}
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxReference+1))
}

func isEnvName(s string) bool {
	for i, r := range s {
		if r != '_' && (r < 'A' || r > 'Z') && (r < 'a' || r > 'z') && (i == 0 || r < '0' || r > '9') {
			return false
		}
	}
	return s != ""
}

// clip shortens text for a message.
func clip(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}
