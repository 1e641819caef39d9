package audit

import (
	"strings"
	"unicode"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/mcp"
)

// secretNames are parts of names of arguments whose values are secrets, in lower case and without anything but letters and digits.
var secretNames = []string{
	"password", "passwd", "passphrase", "secret", "token", "apikey", "accesskey", "privatekey", "signingkey", "authorization", "credential", "cookie",
	"bearer", "jwt",
}

// isSecret tells whether the value of that name is never recorded.
func (s *rules) isSecret(name string) bool {
	lower := strings.ToLower(name)
	for _, p := range s.redact {
		if v1.Like(p, lower) {
			return true
		}
	}
	bare := strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return r
		}
		return -1
	}, lower)
	for _, part := range secretNames {
		if strings.Contains(bare, part) {
			return true
		}
	}
	return bare == "auth" || bare == "pin" || bare == "otp" || bare == "pwd"
}

// Redactor leaves the values of secret names out of JSON, as it is done with arguments that are recorded as redacted.
type Redactor struct{ rules rules }

// NewRedactor makes a redactor by the configuration's own names and those that are always secret.
func NewRedactor(c *v1.Config) *Redactor { return &Redactor{rules{redact: lower(c.Audit.Redact)}} }

// Append appends JSON that is well-formed, without them.
func (r *Redactor) Append(out, in []byte) []byte {
	red := redactor{in: in, out: out, secret: r.rules.isSecret}
	red.value(0)
	return red.out
}

func lower(patterns []string) []string {
	all := make([]string, len(patterns))
	for i, p := range patterns {
		all[i] = strings.ToLower(p)
	}
	return all
}

const redacted = `"[redacted]"`

// redactor copies JSON that was found well-formed, without the space between tokens, with the values of secret names replaced.
type redactor struct {
	in     []byte
	out    []byte
	secret func(name string) bool // nil redacts nothing
}

// value copies the value at i, and returns what is behind it.
func (r *redactor) value(i int) int {
	i = r.space(i)
	if i >= len(r.in) {
		return i
	}
	switch c := r.in[i]; c {
	case '{':
		return r.object(i)
	case '[':
		return r.array(i)
	case '"':
		end := stringEnd(r.in, i)
		r.out = append(r.out, r.in[i:end]...)
		return end
	}
	start := i
	for i < len(r.in) && !strings.ContainsRune(",]} \t\r\n", rune(r.in[i])) {
		i++
	}
	r.out = append(r.out, r.in[start:i]...)
	return max(i, start+1)
}

func (r *redactor) object(i int) int {
	r.out = append(r.out, '{')
	for i = r.space(i + 1); i < len(r.in) && r.in[i] != '}'; i = r.space(i) {
		if r.in[i] == ',' {
			r.out = append(r.out, ',')
			i = r.space(i + 1)
		}
		end := stringEnd(r.in, i)
		r.out = append(append(r.out, r.in[i:end]...), ':')
		name, ok := mcp.Text(r.in, mcp.Span{Start: int32(i), End: int32(end)}, nil)
		if !ok {
			name = r.in[i:end]
		}
		i = r.space(end) + 1 // the colon
		if r.secret != nil && r.secret(string(name)) {
			kept := len(r.out)
			i = r.value(i)
			r.out = append(r.out[:kept], redacted...)
			continue
		}
		i = r.value(i)
	}
	r.out = append(r.out, '}')
	return i + 1
}

func (r *redactor) array(i int) int {
	r.out = append(r.out, '[')
	for i = r.space(i + 1); i < len(r.in) && r.in[i] != ']'; i = r.space(i) {
		if r.in[i] == ',' {
			r.out = append(r.out, ',')
			i++
		}
		i = r.value(i)
	}
	r.out = append(r.out, ']')
	return i + 1
}

func (r *redactor) space(i int) int {
	for i < len(r.in) && (r.in[i] == ' ' || r.in[i] == '\t' || r.in[i] == '\r' || r.in[i] == '\n') {
		i++
	}
	return i
}

// stringEnd is what is behind the string at i.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(b)
}
