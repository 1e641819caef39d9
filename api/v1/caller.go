package v1

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// A value under env, args, cwd, url or headers of a server may refer to the caller
// that it is for: ${principal.subject}, ${principal.tenant}, ${tenant:NAME} and,
// under env and headers, ${credential:NAME}. Such a reference stays in the value
// until an instance starts; $${ before one makes it literal text, in the file and
// here.

// callerRef is a reference to the caller.
var callerRef = regexp.MustCompile(`\$\{(principal\.subject|principal\.tenant|(?:credential|tenant):[A-Za-z0-9_.-]{1,64})\}`)

const (
	refSubject    = "principal.subject"
	refTenant     = "principal.tenant"
	refCredential = "credential:" //nolint:gosec // not one itself
	refVar        = "tenant:"
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
	// Vars are the values of the tenant.
	Vars map[string]Secret
}

// For returns the server as it is for a caller: its env, args, cwd, url and
// headers with the references to the caller replaced. The caller is nil for an
// instance that is not for one; then a reference is an error. No error shows a
// value.
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
	if out.Env, err = who.fillAll(s.Env, "env", unfitForEnv); err != nil {
		return nil, err
	}
	if out.Headers, err = who.fillAll(s.Headers, "headers", unfitForHeader); err != nil {
		return nil, err
	}
	if out.URL, err = who.fillURL(s.URL); err != nil {
		return nil, err
	}
	return &out, nil
}

// fillAll is fill for the values of a key.
func (who *Caller) fillAll(values map[string]string, path string, unfit fitness) (map[string]string, error) {
	out := maps.Clone(values)
	for name, value := range values {
		filled, err := who.fill(value, childPath(path, name), unfit)
		if err != nil {
			return nil, err
		}
		out[name] = filled
	}
	return out, nil
}

// fitness says what is wrong with what a reference yields where it stands; ""
// for nothing.
type fitness func(ref, text string) string

// fill replaces the references of one value.
func (who *Caller) fill(value, path string, unfit fitness) (filled string, err error) {
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
		text, err = who.yield(ref, unfit)
		out.WriteString(text)
	})
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	return out.String(), nil
}

// yield is what a reference stands for, if that is fit for its place.
func (who *Caller) yield(ref string, unfit fitness) (string, error) {
	text, err := who.resolve(ref)
	if err != nil {
		return "", err
	}
	if why := unfit(ref, text); why != "" {
		return "", fmt.Errorf("what ${%s} stands for %s; give the caller another one at %s", ref, why, sourceOf(ref))
	}
	return text, nil
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
	if name, ok := strings.CutPrefix(ref, refVar); ok {
		if value, has := who.Vars[name]; has {
			return string(value), nil
		}
		return "", fmt.Errorf("the caller's tenant has no value %q; give it one under tenants.NAME.vars", name)
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
	switch {
	case ref == refSubject:
		return "auth.apiKeys[].name"
	case ref == refTenant:
		return "auth.apiKeys[].tenant"
	case strings.HasPrefix(ref, refVar):
		return "tenants.NAME.vars"
	}
	return "auth.apiKeys[].credentials"
}

func unfitForEnv(_, text string) string {
	if strings.ContainsRune(text, 0) {
		return "holds a NUL character, which no process can be given"
	}
	return ""
}

// unfitForPath refuses what would lead to another caller's folder.
func unfitForPath(_, text string) string {
	switch {
	case text == "" || text == "." || text == "..":
		return "is empty or a folder's own name for itself or the one above, which cannot be part of a path"
	case strings.Contains(text, "/") || strings.ContainsFunc(text, isControl):
		return "holds a slash or a control character, which cannot be part of a path"
	}
	return ""
}

// unfitForArg refuses also what the program would take for an option.
func unfitForArg(ref, text string) string {
	if strings.HasPrefix(text, "-") {
		return "begins with -, so that the program could take it for an option"
	}
	return unfitForPath(ref, text)
}

// unfitForHeader refuses what would be another header, or what two servers would
// read in two ways (RFC 9110 section 5.5). A comma would make two values of the
// name of one caller.
func unfitForHeader(ref, text string) string {
	switch {
	case text == "":
		return "is empty, which in a header cannot be told from nobody"
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r > '~' }):
		return "holds a line break, a control character or one that is not ASCII, which no header can carry"
	case strings.Trim(text, " ") != text:
		return "has spaces around it, which headers lose"
	case strings.Contains(text, ",") && (ref == refSubject || ref == refTenant):
		return "holds a comma, which in a header can make two names of one"
	}
	return ""
}

func isControl(r rune) bool { return r < ' ' || r == 0x7f }
