package v1

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A value under env, args or cwd of a server with a command may refer to the
// caller that an instance is for: ${principal.subject}, ${principal.tenant} and,
// under env, ${credential:NAME}. Such a reference stays in the value until an
// instance starts; $${ before one makes it literal text, in the file and here.

// callerRef is a reference to the caller.
var callerRef = regexp.MustCompile(`\$\{(principal\.subject|principal\.tenant|credential:[A-Za-z0-9_.-]{1,64})\}`)

const (
	refSubject    = "principal.subject"
	refTenant     = "principal.tenant"
	refCredential = "credential:" //nolint:gosec // not one itself
)

// isCallerRef tells whether what stands between ${ and } refers to the caller.
func isCallerRef(ref string) bool { return callerRef.MatchString("${" + ref + "}") }

// escapeCaller keeps literal text from being read as a reference to the caller.
func escapeCaller(text string) string {
	return callerRef.ReplaceAllStringFunc(text, func(ref string) string { return "$" + ref })
}

// callerParts calls f for the parts of a value in order: literal text, or a
// reference.
func callerParts(value string, f func(literal, ref string)) {
	rest := value
	for {
		at := callerRef.FindStringSubmatchIndex(rest)
		if at == nil {
			f(rest, "")
			return
		}
		if at[0] > 0 && rest[at[0]-1] == '$' {
			f(rest[:at[0]-1]+rest[at[0]:at[1]], "")
		} else {
			f(rest[:at[0]], "")
			f("", rest[at[2]:at[3]])
		}
		rest = rest[at[1]:]
	}
}

// Caller is for whom an instance of a server is started.
type Caller struct {
	// Subject and Tenant name the principal.
	Subject, Tenant string
	// Credential finds a secret of the principal by its name.
	Credential func(name string) (Secret, bool)
}

// For returns the server as it is started for a caller: its env, args and cwd
// with the references to the caller replaced. The caller is nil for an instance
// that is not for one; then a reference is an error. No error shows a value.
func (s *Server) For(who *Caller) (*Server, error) {
	out := *s
	var err error
	out.Args = slices.Clone(s.Args)
	for i := range out.Args {
		if out.Args[i], err = who.fill(s.Args[i], fmt.Sprintf("args[%d]", i), unfitForArg); err != nil {
			return nil, err
		}
	}
	if out.Cwd, err = who.fill(s.Cwd, "cwd", unfitForPath); err != nil {
		return nil, err
	}
	out.Env = maps.Clone(s.Env)
	for name, value := range s.Env {
		if out.Env[name], err = who.fill(value, childPath("env", name), unfitForEnv); err != nil {
			return nil, err
		}
	}
	return &out, nil
}

// fill replaces the references of one value. unfit says what is wrong with what
// one yields where it stands.
func (who *Caller) fill(value, path string, unfit func(text string) string) (filled string, err error) {
	if !strings.Contains(value, "${") {
		return value, nil
	}
	var out strings.Builder
	callerParts(value, func(literal, ref string) {
		if ref == "" || err != nil {
			out.WriteString(literal)
			return
		}
		var text string
		if text, err = who.resolve(ref); err == nil {
			if why := unfit(text); why != "" {
				err = fmt.Errorf("what ${%s} stands for %s; give the caller another one at %s", ref, why, sourceOf(ref))
			}
		}
		out.WriteString(text)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return out.String(), nil
}

func (who *Caller) resolve(ref string) (string, error) {
	if who == nil {
		return "", fmt.Errorf("${%s} stands for the caller, but this instance is for nobody in particular", ref)
	}
	switch ref {
	case refSubject:
		return who.Subject, nil
	case refTenant:
		return who.Tenant, nil
	}
	name := strings.TrimPrefix(ref, refCredential)
	if who.Credential != nil {
		if secret, ok := who.Credential(name); ok {
			return string(secret), nil
		}
	}
	return "", fmt.Errorf("the caller has no credential %q; give it one under auth.apiKeys[].credentials", name)
}

// sourceOf is the key of the configuration that a reference's value is from.
func sourceOf(ref string) string {
	switch ref {
	case refSubject:
		return "auth.apiKeys[].name"
	case refTenant:
		return "auth.apiKeys[].tenant"
	}
	return "auth.apiKeys[].credentials"
}

func unfitForEnv(text string) string {
	if strings.ContainsRune(text, 0) {
		return "holds a NUL character, which no process can be given"
	}
	return ""
}

// unfitForPath refuses what would lead to another caller's folder.
func unfitForPath(text string) string {
	switch {
	case text == "" || text == "." || text == "..":
		return "is empty or a folder's own name for itself or the one above, which cannot be part of a path"
	case strings.Contains(text, "/") || strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return "holds a slash or a control character, which cannot be part of a path"
	}
	return ""
}

// unfitForArg refuses also what the program would take for an option.
func unfitForArg(text string) string {
	if strings.HasPrefix(text, "-") {
		return "begins with -, so that the program could take it for an option"
	}
	return unfitForPath(text)
}
