package policy

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Kind is what an object is.
type Kind uint8

// The kinds. A resource template is a resource.
const (
	KindAny Kind = iota // only for [View.Sees]
	KindTool
	KindPrompt
	KindResource
)

// String returns the name of the kind, as Cedar policies have it.
func (k Kind) String() string { return [...]string{"any", "Tool", "Prompt", "Resource"}[k] }

// Object is what a decision is about. The same object is passed by the same pointer where decisions follow each
// other quickly: it remembers what of the policies fits it. It must not be changed after its first use.
type Object struct {
	// Kind is what it is.
	Kind Kind
	// Server is the name of its server.
	Server string
	// Toolset is the toolset at whose endpoint it is asked for; empty at other endpoints.
	Toolset string
	// Name is the server's own name for it; the URI (or template) of a resource.
	Name string
	// Shown is its name at /mcp.
	Shown string
	// Labels are those of its server.
	Labels map[string]string
	// Hints are the annotations of a tool.
	Hints Hints
	// Once is true for an object that is made for one decision: nothing is kept for it.
	Once bool

	memo [2]atomic.Pointer[memo] // of a set that decides, and of one that does not
}

// Hints are the annotations of a tool, as its server tells them.
type Hints struct {
	ReadOnly, Destructive, Idempotent, OpenWorld bool
}

// HintsOf returns the hints of a tool; nil is a hint that its definition does not have, for which the defaults of the
// specification count. A tool that only reads is not destructive, and it is idempotent.
func HintsOf(readOnly, destructive, idempotent, openWorld *bool) Hints {
	or := func(p *bool, absent bool) bool {
		if p == nil {
			return absent
		}
		return *p
	}
	h := Hints{ReadOnly: or(readOnly, false), OpenWorld: or(openWorld, true)}
	h.Destructive = !h.ReadOnly && or(destructive, true)
	h.Idempotent = h.ReadOnly || or(idempotent, false)
	return h
}

// NoArgs are the arguments of a call that has none.
var NoArgs = []byte("{}")

// Facts are what a decision may depend on besides who asks for what.
type Facts struct {
	// Args are the arguments of the call, as JSON. Nil asks whether it is permitted for some arguments, as for lists;
	// a call without arguments has [NoArgs].
	Args []byte
	// Now is the time.
	Now time.Time
	// Client and ClientVersion are what the client says that it is.
	Client, ClientVersion string
	// Address is where the caller is, as far as known.
	Address netip.Addr
}

// Decision is an answer.
type Decision struct {
	// Allowed tells whether it is permitted.
	Allowed bool
	// Rule is what decided.
	Rule string
	// Scopes are scopes with which the caller's token would be permitted what it is not now.
	Scopes []string
}

// Listed tells whether lists show the object: it is permitted, or would be with further scopes.
func (d Decision) Listed() bool { return d.Allowed || len(d.Scopes) > 0 }
