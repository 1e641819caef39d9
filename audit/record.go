package audit

import (
	"net/netip"
	"time"
)

// Kind is what sort of thing happened.
type Kind uint8

const (
	// Call is a request of MCP, or one that was refused before it was known to be one (OCSF API Activity, 6003).
	Call Kind = iota
	// Logon is a request whose credential was refused (OCSF Authentication, 3002).
	Logon
	// Management is a request to the management interface (OCSF API Activity, 6003).
	Management
	// Lifecycle is what the gateway tells of itself and of this log (OCSF Application Lifecycle, 6002).
	Lifecycle
)

// Decision is whether somebody was allowed to do what was asked.
type Decision uint8

const (
	// Undecided is what never got as far as a decision.
	Undecided Decision = iota
	// Allowed is what was permitted.
	Allowed
	// Denied is what was not.
	Denied
)

// Record is one thing that happened. Texts from outside are cut to a bound when they are written; what is empty is left out.
type Record struct {
	Kind Kind
	// Time is when it began.
	Time time.Time

	// Subject and Tenant are the principal's; Groups its groups, Issuer the name of its token's issuer, Method how it was
	// identified, OAuthClient the client that its token was given to.
	Subject, Tenant     string
	Groups              []string
	Issuer, Method      string
	OAuthClient         string
	Client, ClientVer   string         // the client program and its version, as it says
	Address             netip.AddrPort // where the request came from
	Session             string         // names the session; only a short hash of it is written
	Trace               string         // trace id, 32 hex digits
	Endpoint, Era       string         // endpoint by its path; modern or legacy
	HTTPMethod          string         // of the request
	Operation           string         // method of MCP, or what was done at the management interface: keys.create
	Server, Toolset     string
	Target              Target
	TargetName          string // the server's own name of a tool or prompt, a URI, the id of a key
	Shown               string // the name at /mcp, by which rules for arguments find a tool; TargetName where it is empty
	Arguments           []byte // raw JSON; how much of it is written is for the configuration to say
	Decision            Decision
	Rule                string // what decided
	Outcome             string // ok, error, tool_error, or the outcome of an [errs.Kind]
	Cache               string // what came of looking for a kept answer; empty where none was looked for
	Detail              string // what the caller was told, for refusals that name no argument
	Status              int    // of HTTP; 0 where there is none
	Code                int64  // of JSON-RPC; 0 for none
	Took                time.Duration
	Queue, Start        time.Duration // waiting for room; starting an instance
	AtServer, Transport time.Duration
	BytesIn, BytesOut   int
	// Facts are further ones: raw JSON by name.
	Facts []Fact
}

// Fact is a further fact of a record.
type Fact struct {
	Name string
	JSON string
}

// Target is the sort of thing that a record is about.
type Target uint8

// The targets.
const (
	NoTarget Target = iota
	Tool
	Prompt
	Resource
	Task
	ManagedKey
	Other
)
