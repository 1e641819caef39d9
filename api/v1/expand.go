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
// With caller, references to the caller are kept, and text that reads like one is
// kept from being taken for one.
func expand(s string, opts *Options, caller bool) (string, []error) {
	e := expansion{opts: opts, caller: caller}
	for {
		i := strings.Index(s, "${")
		if i < 0 {
			e.literal.WriteString(s)
			e.flush()
			return e.out.String(), e.errs
		}
		if i > 0 && s[i-1] == '$' {
			e.literal.WriteString(s[:i-1] + "${")
			s = s[i+2:]
			continue
		}
		e.literal.WriteString(s[:i])
		ref, rest, ok := strings.Cut(s[i+2:], "}")
		if !ok {
			return "", append(e.errs, errors.New(`has "${" without "}"; write $${ for a literal "${"`))
		}
		e.reference(ref)
		s = rest
	}
}

// expansion is a value that is being expanded.
type expansion struct {
	opts         *Options
	caller       bool
	out, literal strings.Builder
	errs         []error
}

func (e *expansion) reference(ref string) {
	switch isCaller := isCallerRef(ref); {
	case isCaller && !e.caller:
		e.errs = append(e.errs, fmt.Errorf("has the reference ${%s}, which stands for the caller; "+
			"only env, args, cwd, url and headers of a server may have it", clip(ref)))
	case isCaller && strings.HasSuffix(e.literal.String(), "$"):
		e.errs = append(e.errs, fmt.Errorf("has $ right before the reference ${%s}; put something between them", ref))
	case isCaller:
		e.flush()
		e.out.WriteString("${" + ref + "}")
	default:
		value, err := resolve(ref, e.opts)
		if err != nil {
			e.errs = append(e.errs, err)
		}
		e.literal.WriteString(value)
	}
}

// flush ends a piece of literal text.
func (e *expansion) flush() {
	text := e.literal.String()
	e.literal.Reset()
	if e.caller {
		text = escapeCaller(text)
	}
	e.out.WriteString(text)
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
