package errs

import "net/http"

// Kind is what sort of failure an Error is. The set is closed: what is answered for each stands in one table.
type Kind uint8

// The kinds. The zero Kind is Internal: a failure that nobody classified is the gateway's own.
const (
	// Internal is a fault of the gateway itself.
	Internal Kind = iota
	// Parse is a body that is not JSON.
	Parse
	// BadRequest is JSON that is not a JSON-RPC message, or a request that breaks the transport's rules.
	BadRequest
	// Invalid is a request with wrong or missing parameters.
	Invalid
	// NotFound is a tool, prompt, resource, cursor or task that is unknown, or that the caller may not know.
	NotFound
	// MethodNotFound is a method that does not exist in the protocol version asked for.
	MethodNotFound
	// HeaderMismatch is a header that is missing, malformed or not what the body says (2026-07-28, "Request Metadata").
	HeaderMismatch
	// MissingCapability is a request that needs a capability the client did not declare.
	MissingCapability
	// UnsupportedVersion is a protocol version that this endpoint does not speak.
	UnsupportedVersion
	// Unauthenticated is a caller without valid credentials.
	Unauthenticated
	// Forbidden is a caller, origin or host that may not do this.
	Forbidden
	// InsufficientScope is a caller whose token lacks a scope that the request needs (RFC 6750 section 3.1).
	InsufficientScope
	// SessionNotFound is a session id that is unknown, expired or of another principal.
	SessionNotFound
	// NotAcceptable is an Accept header that leaves nothing to answer with.
	NotAcceptable
	// MediaType is a body of a content type other than JSON.
	MediaType
	// TooLarge is a message over a configured bound.
	TooLarge
	// Overloaded is a bounded queue or pool that is full.
	Overloaded
	// Unavailable is a server that cannot be reached or started.
	Unavailable
	// Timeout is a server that did not answer in time.
	Timeout
	// Protocol is a server that answered something that is not MCP.
	Protocol
	// Unsupported is a message that cannot be translated between the two eras.
	Unsupported
	// Canceled is a call that its caller gave up.
	Canceled
	// Draining is a gateway that is stopping and takes no new work.
	Draining
	// NoEndpoint is a path that no endpoint has.
	NoEndpoint
	// Lost is an interaction (a parked call, a task, a stream) that ended with the replica or server that held it.
	Lost
	// Limited is a caller that has used up what a limit gives it.
	Limited

	numKinds
)

// JSON-RPC 2.0 and MCP 2026-07-28 error codes. The wire package has the same numbers; this one depends on nothing.
const (
	codeParse              = -32700
	codeInvalidRequest     = -32600
	codeMethodNotFound     = -32601
	codeInvalidParams      = -32602
	codeInternal           = -32603
	codeHeaderMismatch     = -32020
	codeMissingCapability  = -32021
	codeUnsupportedVersion = -32022
)

// statusClientClosed is the status that proxies log when the client went away; nobody reads the answer.
const statusClientClosed = 499

type facts struct {
	text    string
	http    int
	code    int64
	outcome string
}

// table is the only place that says what a kind looks like outside. A failure of a server is HTTP 200:
// the exchange with the gateway worked, and JSON-RPC clients read the error in the body. A failure of the
// transport has no code in JSON-RPC or MCP, so its HTTP status is the code (outside the reserved range).
var table = [numKinds]facts{
	Internal:           {"internal error", http.StatusOK, codeInternal, "internal"},
	Parse:              {"parse error", http.StatusBadRequest, codeParse, "parse"},
	BadRequest:         {"invalid request", http.StatusBadRequest, codeInvalidRequest, "bad_request"},
	Invalid:            {"invalid parameters", http.StatusBadRequest, codeInvalidParams, "invalid"},
	NotFound:           {"not found", http.StatusBadRequest, codeInvalidParams, "not_found"},
	MethodNotFound:     {"method not found", http.StatusNotFound, codeMethodNotFound, "method_not_found"},
	HeaderMismatch:     {"header mismatch", http.StatusBadRequest, codeHeaderMismatch, "header_mismatch"},
	MissingCapability:  {"missing client capability", http.StatusBadRequest, codeMissingCapability, "missing_capability"},
	UnsupportedVersion: {"unsupported protocol version", http.StatusBadRequest, codeUnsupportedVersion, "unsupported_version"},
	Unauthenticated:    {"unauthenticated", http.StatusUnauthorized, http.StatusUnauthorized, "unauthenticated"},
	Forbidden:          {"forbidden", http.StatusForbidden, http.StatusForbidden, "forbidden"},
	InsufficientScope:  {"insufficient scope", http.StatusForbidden, http.StatusForbidden, "insufficient_scope"},
	SessionNotFound:    {"session not found", http.StatusNotFound, http.StatusNotFound, "session_not_found"},
	NotAcceptable:      {"not acceptable", http.StatusNotAcceptable, http.StatusNotAcceptable, "not_acceptable"},
	MediaType:          {"unsupported media type", http.StatusUnsupportedMediaType, http.StatusUnsupportedMediaType, "media_type"},
	TooLarge:           {"message too large", http.StatusRequestEntityTooLarge, http.StatusRequestEntityTooLarge, "too_large"},
	Overloaded:         {"overloaded", http.StatusServiceUnavailable, codeInternal, "overloaded"},
	Unavailable:        {"server unavailable", http.StatusOK, codeInternal, "unavailable"},
	Timeout:            {"timed out", http.StatusOK, codeInternal, "timeout"},
	Protocol:           {"server broke the protocol", http.StatusOK, codeInternal, "protocol"},
	Unsupported:        {"unsupported", http.StatusOK, codeInternal, "unsupported"},
	Canceled:           {"canceled", statusClientClosed, codeInternal, "canceled"},
	Draining:           {"draining", http.StatusServiceUnavailable, codeInternal, "draining"},
	Lost:               {"interaction lost", http.StatusOK, codeInternal, "lost"},
	Limited:            {"limit reached", http.StatusTooManyRequests, http.StatusTooManyRequests, "limited"},
	NoEndpoint:         {"no such endpoint", http.StatusNotFound, http.StatusNotFound, "no_endpoint"},
}

func (k Kind) facts() *facts {
	if k >= numKinds {
		k = Internal
	}
	return &table[k]
}

// HTTP is the status an answer with this kind is sent with.
func (k Kind) HTTP() int { return k.facts().http }

// Code is the JSON-RPC error code.
func (k Kind) Code() int64 { return k.facts().code }

// Outcome is the word for audit records and metric labels, one per kind.
func (k Kind) Outcome() string { return k.facts().outcome }

// Outcomes are the outcomes of all kinds.
func Outcomes() []string {
	all := make([]string, numKinds)
	for k := range all {
		all[k] = table[k].outcome
	}
	return all
}

// String is the kind in plain words.
func (k Kind) String() string { return k.facts().text }
