package identity

import (
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	wellKnown       = "/.well-known/oauth-protected-resource"
	descriptionMost = 240 // bytes of error_description
)

// lacking is what a token lacks.
type lacking struct{ scopes []string }

func (l *lacking) Error() string { return strings.Join(l.scopes, " ") }

// Lacking is the errs.InsufficientScope error of a caller whose token needs those scopes besides the ones it has: the client is
// told to ask its authorization server for them (RFC 6750 section 3.1).
func Lacking(scopes ...string) error {
	return errs.E(op, errs.InsufficientScope, "the token lacks a scope; ask the authorization server for a token with: %w", &lacking{scopes})
}

// Challenge are the values of WWW-Authenticate that an answer to r with err has (RFC 6750 section 3, RFC 9728 section 5.1); nil
// where it has none.
func (v *Verifier) Challenge(err error, r *Request) []string {
	e := errs.Of(err)
	if e == nil || e.Kind != errs.Unauthenticated && e.Kind != errs.InsufficientScope {
		return nil
	}
	c := challenge(`Bearer realm="toolcrib"`)
	if len(v.issuers) > 0 {
		c.add("resource_metadata", v.metadataURL(r))
		c.add("scope", strings.Join(v.needs(err, r), " "))
	}
	switch {
	case e.Kind == errs.InsufficientScope:
		c.add("error", "insufficient_scope")
	case len(r.Header["Authorization"]) == 1:
		c.add("error", "invalid_token")
	case len(r.Header["Authorization"]) > 1:
		c.add("error", "invalid_request")
	default:
		return []string{string(c)} // who sent no credential is told no error (RFC 6750 section 3.1)
	}
	text := e.Text()
	c.add("error_description", text[:min(len(text), descriptionMost)])
	return []string{string(c)}
}

// needs are the scopes that a request takes which failed with err: those that its issuer is asked for, and those that it lacks.
func (v *Verifier) needs(err error, r *Request) []string {
	scopes := v.scopes()
	if is := v.issuerBehind(r); is != nil {
		scopes = slices.Clone(is.requested())
	}
	if l, ok := errors.AsType[*lacking](err); ok {
		for _, s := range l.scopes {
			if !slices.Contains(scopes, s) {
				scopes = append(scopes, s)
			}
		}
	}
	return scopes
}

// issuerBehind is the issuer of the token that a request has; nil where it has none that was ever good.
func (v *Verifier) issuerBehind(r *Request) *issuer {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return nil
	}
	token, _ := bearer(values[0])
	if k := v.tokens.find(token); k != nil {
		return k.issuer
	}
	return nil
}

// scopes are those that clients ask every issuer for: a client asks one of them, and which one is its choice.
func (v *Verifier) scopes() []string {
	var all []string
	for i, is := range v.issuers {
		if i == 0 {
			all = slices.Clone(is.requested())
			continue
		}
		all = slices.DeleteFunc(all, func(s string) bool { return !slices.Contains(is.requested(), s) })
	}
	return all
}

// challenge is a value of WWW-Authenticate.
type challenge string

// add appends a parameter that is not empty, without the characters that its value cannot have (RFC 6750 section 3).
func (c *challenge) add(name, value string) {
	if value == "" {
		return
	}
	clean := strings.Map(func(r rune) rune {
		switch {
		case r == '"':
			return '\''
		case r < ' ' || r > '~' || r == '\\':
			return '?'
		}
		return r
	}, value)
	*c += challenge(", " + name + `="` + clean + `"`)
}

// IsMetadata reports whether a path is that of a document of Metadata, and for which endpoint's path it is.
func (v *Verifier) IsMetadata(path string) (endpoint string, ok bool) {
	endpoint, ok = strings.CutPrefix(path, wellKnown)
	if !ok || endpoint != "" && endpoint[0] != '/' {
		return "", false
	}
	endpoint = strings.TrimSuffix(endpoint, "/")
	if prefix := v.public.path(); prefix != "" { // RFC 9728 section 3.1 puts it behind the well-known part
		if rest, ok := strings.CutPrefix(endpoint, prefix); ok && (rest == "" || rest[0] == '/') {
			endpoint = rest
		}
	}
	return endpoint, true
}

// metadataURL is where the metadata of the endpoint of a request are.
func (v *Verifier) metadataURL(r *Request) string {
	base, _ := v.base(r)
	return base + wellKnown + r.Path
}

// Metadata is the document that tells clients of the endpoint which authorization servers there are (RFC 9728 section 3.2); nil
// where there are none.
func (v *Verifier) Metadata(r *Request) []byte {
	if len(v.issuers) == 0 {
		return nil
	}
	doc := metadata{Methods: []string{"header"}, Name: "Toolcrib", Scopes: v.scopes()}
	doc.Resource, _ = v.base(r)
	doc.Resource += r.Path
	for _, is := range v.issuers {
		doc.Servers = append(doc.Servers, is.Issuer.Issuer)
	}
	return doc.encode()
}

// ServeMetadata answers with the metadata of an endpoint, which may be read by pages of any origin: it says nothing of who asks,
// and nothing of whether there is such an endpoint.
func (v *Verifier) ServeMetadata(w http.ResponseWriter, r *http.Request, endpoint string) {
	from := RequestOf(r, endpoint)
	body := v.Metadata(&from)
	h := w.Header()
	h.Set("Access-Control-Allow-Origin", "*")
	switch {
	case body == nil:
		http.Error(w, "no authorization server is configured; callers need no token of one", http.StatusNotFound)
	case r.Method == http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET")
		h.Set("Access-Control-Allow-Headers", "*")
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		w.WriteHeader(http.StatusMethodNotAllowed)
	default:
		h.Set("Content-Type", "application/json")
		h.Set("Cache-Control", "public, max-age=300")
		h.Set("Vary", "Host")
		_, _ = w.Write(body) // a client that is gone needs no answer
	}
}
