package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

const (
	nameMost   = 256          // characters of a subject, tenant, group or role
	namesMost  = 2000         // groups or roles of a token
	farthestAt = 253402300799 // the end of the year 9999, in Unix seconds
)

// claims are what a token, or what an issuer says of it, holds. Numbers are json.Number.
type claims map[string]any

func readClaims(b []byte) (claims, error) {
	var c claims
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if err := d.Decode(&c); err != nil || c == nil || d.More() {
		return nil, fmt.Errorf("its claims are no JSON object")
	}
	return c, nil
}

// at finds a claim. A name is taken as it is before its dots lead into objects.
func (c claims) at(path string) any {
	if v, ok := c[path]; ok {
		return v
	}
	for i := range len(path) {
		if path[i] != '.' {
			continue
		}
		if inner, ok := c[path[:i]].(map[string]any); ok {
			if v := claims(inner).at(path[i+1:]); v != nil {
				return v
			}
		}
	}
	return nil
}

// text is a claim that is a string; empty where there is none.
func (c claims) text(path string) (string, error) {
	switch v := c.at(path).(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case json.Number:
		if !strings.ContainsAny(v.String(), ".eE") {
			return v.String(), nil
		}
	}
	return "", fmt.Errorf("claim %q is not a text", path)
}

// name is a claim that names something: what is printed, and kept in labels and records.
func (c claims) name(path string) (string, error) {
	text, err := c.text(path)
	if err != nil || text == "" {
		return "", err
	}
	return text, nameable(path, text)
}

func nameable(path, text string) error {
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > nameMost || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("claim %q is not a name; names are printable and have at most %d characters", path, nameMost)
	}
	return nil
}

// names is a claim that is a list of names, or one.
func (c claims) names(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	list, ok := c.at(path).([]any)
	if !ok {
		one, err := c.name(path)
		if err != nil || one == "" {
			return nil, err
		}
		return []string{one}, nil
	}
	if len(list) > namesMost {
		return nil, fmt.Errorf("claim %q has %d elements; at most %d are taken", path, len(list), namesMost)
	}
	out := make([]string, 0, len(list))
	for _, v := range list {
		text, ok := v.(string)
		if !ok {
			return nil, fmt.Errorf("claim %q is not a list of texts", path)
		}
		if err := nameable(path, text); err != nil {
			return nil, err
		}
		out = append(out, text)
	}
	return out, nil
}

// time is a claim that is a NumericDate (RFC 7519 section 2); zero where there is none.
func (c claims) time(name string) (time.Time, error) {
	v, ok := c[name]
	if !ok {
		return time.Time{}, nil
	}
	n, ok := v.(json.Number)
	if !ok {
		return time.Time{}, fmt.Errorf("claim %q is not a time", name)
	}
	f, err := n.Float64()
	if err != nil || math.IsNaN(f) || f < 0 || f > farthestAt {
		return time.Time{}, fmt.Errorf("claim %q is not a time", name)
	}
	whole, part := math.Modf(f)
	return time.Unix(int64(whole), int64(part*1e9)), nil
}

// strings is a claim that is a list of texts, or one text; what else is in it is left out.
func (c claims) strings(name string) []string {
	switch v := c[name].(type) {
	case string:
		return []string{v}
	case []any:
		var out []string
		for _, e := range v {
			if text, ok := e.(string); ok {
				out = append(out, text)
			}
		}
		return out
	}
	return nil
}

// scopes are those of the token: scope is one text (RFC 8693 section 4.2), scp what others make of it.
func (c claims) scopes() []string {
	var out []string
	for _, name := range []string{"scope", "scp"} {
		for _, text := range c.strings(name) {
			out = append(out, strings.Fields(text)...)
		}
	}
	return out[:min(len(out), namesMost)]
}

// client is the OAuth client that the token was given to.
func (c claims) client() string {
	for _, name := range []string{"client_id", "azp"} {
		if id, ok := c[name].(string); ok && id != "" {
			return id
		}
	}
	return ""
}

// fact is a claim as policies can have it: a text, a number, a boolean or a list of texts; nil for anything else.
func (c claims) fact(path string) any {
	switch v := c.at(path).(type) {
	case string, bool:
		return v
	case json.Number:
		if n, err := v.Int64(); err == nil {
			return n
		}
		if f, err := v.Float64(); err == nil {
			return f
		}
	case []any:
		out := make([]string, 0, len(v))
		for _, e := range v {
			text, ok := e.(string)
			if !ok {
				return nil
			}
			out = append(out, text)
		}
		return out
	}
	return nil
}

// principal makes the principal that the claims say.
func (c claims) principal(spec *v1.Claims) (*Principal, error) {
	p := &Principal{Method: MethodToken, Client: c.client(), Scopes: c.scopes()}
	var err error
	if _, number := c["sub"].(json.Number); number && spec.Subject == "sub" {
		return nil, errors.New(`claim "sub" is a number, not a text (RFC 7519 section 4.1.2)`) // else 5 and "5" were the same caller
	}
	if p.Subject, err = c.name(spec.Subject); err != nil {
		return nil, err
	}
	if p.Subject == "" {
		return nil, fmt.Errorf("claim %q is missing, which names the caller", spec.Subject)
	}
	if spec.Tenant != "" {
		if p.Tenant, err = c.name(spec.Tenant); err != nil {
			return nil, err
		}
		if p.Tenant == "" {
			return nil, fmt.Errorf("claim %q is missing, which names the tenant", spec.Tenant)
		}
	}
	if p.Groups, err = c.names(spec.Groups); err != nil {
		return nil, err
	}
	if p.Roles, err = c.names(spec.Roles); err != nil {
		return nil, err
	}
	for name, path := range spec.Attributes {
		if v := c.fact(path); v != nil {
			p.attribute(name, v)
		}
	}
	return p, nil
}
