package v1

import (
	"bytes"
	"encoding/json"
)

// Instance is one running copy of a server with urls. Its url alone may stand for
// it.
type Instance struct {
	// URL is the http or https address of the instance.
	URL string `json:"url,omitempty" example:"http://10.0.0.7:8000/mcp"`
	// Weight is its share of the work: one with 2 gets twice as much as one with 1.
	Weight int `json:"weight,omitzero" default:"1" min:"1" max:"1000"`
	// Zone is where it runs, for balance.away.
	Zone string `json:"zone,omitempty" example:"eu-central-1a"`
}

// UnmarshalJSON reads an object, or a URL alone.
func (i *Instance) UnmarshalJSON(data []byte) error {
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '"' {
		return json.Unmarshal(data, &i.URL)
	}
	type plain Instance
	return json.Unmarshal(data, (*plain)(i))
}

// DNS finds the instances of a server by the name in its url, which is asked for
// again and again. Each address is an instance. When it cannot be resolved, or
// has no address any more, the last ones stay.
type DNS struct {
	// Records are those that name instances: a (A and AAAA, with the port of the url) or srv, whose
	// priorities and weights count.
	Records string `json:"records,omitempty" default:"a" enum:"a,srv"`
	// Name is what is resolved. Default: the host of the url, which requests and
	// certificates go by in any case.
	Name string `json:"name,omitempty" example:"_mcp._tcp.search.internal"`
	// Refresh is how often.
	Refresh Duration `json:"refresh,omitzero" default:"10s" min:"100ms" max:"1h"`
	// Resolver is the DNS server to ask, as host:port. Default: what the system does.
	Resolver string `json:"resolver,omitempty" example:"127.0.0.1:8600"`
}

// Balance says how calls are spread over the instances of a server.
type Balance struct {
	// By is how the instance is chosen: least takes two at random and of these the
	// one with fewer calls under way, header always the same one for the same value
	// of a header of the client. Whoever has a session at a legacy server stays
	// with the instance that was chosen at its beginning.
	By string `json:"by,omitempty" default:"least" enum:"least,header"`
	// Header is the header that by: header goes by. Mcp-Name and Mcp-Method stand for what is called,
	// whether or not the client sends them. Without the header the choice is that of least.
	Header string `json:"header,omitempty" example:"X-Shard"`
	// SlowStart is how long the share of an instance grows that came, or came back.
	SlowStart Duration `json:"slowStart,omitzero" default:"0s" max:"1h"`
	// State says whether instances keep something in the sessions of a legacy
	// server: with none, a session that is lost with its instance is opened anew at
	// another one and nobody notices; with kept, each session of a client has one of its
	// own, and when that is lost the client is told (404), so that it begins again and knows it.
	State string `json:"state,omitempty" default:"none" enum:"none,kept"`
	// Away is the share of their weight, in percent, that instances outside of the
	// gateway's own zone have. With 0 they are used only when no other one is up.
	Away int `json:"away" default:"100" min:"0" max:"100"`
}

// Health says how instances of a server with a url are found to fail.
type Health struct {
	// Failures in a row (no connection, a broken one, silence, HTTP 5xx, no MCP) have an
	// instance passed over for ejectFor, the second time for twice as long and so
	// on. Then one call is let through as a trial. 0 ejects none. The only instance
	// of a server is not ejected.
	Failures int `json:"failures" default:"3" min:"0" max:"1000"`
	// EjectFor is how long an instance is passed over the first time.
	EjectFor Duration `json:"ejectFor,omitzero" default:"10s" min:"10ms" max:"10m"`
	// Most is how many percent of the instances may be ejected at once; one may be in any
	// case, but never the last.
	Most int `json:"most,omitzero" default:"50" min:"1" max:"100"`
	// Active probes each instance, whether or not it is called.
	Active *ActiveHealth `json:"active,omitempty"`
}

// ActiveHealth probes instances. The first probe that fails twice in a row takes an
// instance out, one that succeeds brings it back; one that comes and goes, later
// and later.
type ActiveHealth struct {
	// Kind is what is asked: mcp is server/discover, or ping for a legacy server;
	// tcp opens a connection; http is a GET that takes a status below 400.
	Kind string `json:"kind,omitempty" default:"mcp" enum:"mcp,tcp,http"`
	// Path is that of the GET of http.
	Path string `json:"path,omitempty" example:"/healthz"`
	// Interval is how often each instance is probed.
	Interval Duration `json:"interval,omitzero" default:"10s" min:"10ms" max:"1h"`
	// Timeout is how long it may take.
	Timeout Duration `json:"timeout,omitzero" default:"2s" min:"1ms" max:"10m"`
}

// Breaker is the circuit breaker of each instance. While it is open, calls that no
// other instance can take are refused at once.
type Breaker struct {
	// Failures in a row open it.
	Failures int `json:"failures,omitzero" default:"5" min:"1" max:"100000"`
	// Open is how long it stays open. Then one call is let through as a trial, which
	// closes it or opens it again.
	Open Duration `json:"open,omitzero" default:"10s" min:"10ms" max:"1h"`
}

// AdaptiveConcurrency bounds the calls that a server has at once.
type AdaptiveConcurrency struct {
	// Adaptive has the bound follow how long calls take: it falls when they take
	// longer than usual for the same tool, or when the server says that it is overloaded. When it
	// is false, the bound is max.
	Adaptive bool `json:"adaptive" default:"true"`
	// Min is what the server is always given. Default: 4, or max where that is less.
	Min *int `json:"min,omitempty" min:"1" max:"100000"`
	// Max is the most it is ever given at once.
	Max int `json:"max,omitzero" default:"200" min:"1" max:"100000"`
}

// Least is Min, or its default.
func (c *AdaptiveConcurrency) Least() int {
	if c.Min == nil {
		return min(4, c.Max)
	}
	return *c.Min
}
