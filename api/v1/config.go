// Package v1 is the vocabulary of Toolcrib's configuration: the types, their
// defaults, what makes them valid, and a strict parser for YAML and JSON that
// reports every problem with its path and line.
//
// A file that holds nothing but the {"mcpServers": {...}} object of the common
// MCP clients is a complete configuration.
//
// The doc comments of fields and their tags (default, enum, pattern, env) are
// the source of docs/configuration.md and docs/config.schema.json.
package v1

//go:generate go run ./gen

// Config is a whole configuration file. Every key has a default; a file with
// only mcpServers is complete.
type Config struct {
	// Listen is the address that serves clients, as host:port. Port 0 picks a
	// free port. An address that is not loopback needs auth, or the flag that
	// allows unauthenticated use. A listening socket that the process inherits, as
	// from systemd (LISTEN_FDS), stands in its place. A change takes effect after a
	// restart.
	Listen string `json:"listen,omitempty" default:"127.0.0.1:8080" env:"TOOLCRIB_LISTEN"`
	// PublicURL is the http or https URL under which clients reach this gateway,
	// when that is not the listen address: behind a load balancer, for example.
	// Its host is an allowed Host and its origin an allowed Origin.
	PublicURL string `json:"publicURL,omitempty" example:"https://tools.example.com" env:"TOOLCRIB_PUBLIC_URL"`
	// AllowedHosts are further values of the Host header that are accepted, next
	// to loopback names and the host of publicURL. A host without a port is
	// accepted with every port. The check guards against DNS rebinding. A gateway
	// that listens on a loopback address makes it always; on any other address it
	// is made once allowedHosts or publicURL is set.
	AllowedHosts []string `json:"allowedHosts,omitempty" example:"tools.internal"`
	// AllowedOrigins are further values of the Origin header that are accepted,
	// next to loopback origins and that of publicURL, as scheme://host[:port].
	AllowedOrigins []string `json:"allowedOrigins,omitempty" example:"https://app.example.com"`
	// MCPServers are the MCP servers behind the gateway, by name. A name has 1 to
	// 64 printable characters and no slash; it is part of the server's own
	// endpoint, /servers/NAME/mcp. At most 1,000 servers. The key may also be
	// written "servers", as VS Code does.
	MCPServers map[string]*Server `json:"mcpServers,omitempty" alias:"servers"`
	// Names says how the names of several servers' tools and prompts are joined
	// at the aggregated endpoint.
	Names Names `json:"names,omitzero"`
	// TLS has the gateway serve https in place of http. A change takes effect after
	// a restart.
	TLS TLS `json:"tls,omitzero"`
	// Auth says who may call.
	Auth Auth `json:"auth,omitzero" null:"refused"`
	// Policies say what callers may do.
	Policies Policies `json:"policies,omitzero" null:"refused"`
	// Tenants are what is particular to tenants, by name. A tenant need not be here
	// to be one.
	Tenants map[string]*Tenant `json:"tenants,omitempty"`
	// Toolsets are named selections over servers, each served at
	// /toolsets/NAME/mcp. A name has 1 to 64 printable characters and no slash.
	Toolsets map[string]*Toolset `json:"toolsets,omitempty"`
	// Pin says what happens to a tool whose definition (name, description, schemas,
	// annotations) is not as it was approved with toolcrib approve, or that was never
	// approved: strict keeps it from callers, warn logs it, off does not look. It is
	// for servers that say nothing else.
	Pin string `json:"pin,omitempty" default:"off" enum:"strict,warn,off"`
	// Limits bound how much callers may ask for: requests in a time, at once, in a
	// day or month, and bytes. Without any there is no limit.
	Limits []Limit `json:"limits,omitempty" null:"refused"`
	// Audit says what is recorded of decisions and calls, and where to.
	Audit Audit `json:"audit,omitzero"`
	// Store is the database that keeps what is made at run time, such as the keys of
	// toolcrib keys: postgres://user:password@host/database, for replicas that share it.
	// Default: an SQLite file in stateDir. A change takes effect after a restart.
	Store Secret `json:"store,omitempty" example:"${env:DATABASE_URL}" env:"TOOLCRIB_STORE,DATABASE_URL"`
	// Messages bounds what a single JSON-RPC message may be.
	Messages Messages `json:"messages,omitzero"`
	// Sessions concerns the sessions of legacy clients (protocol versions before
	// 2026-07-28).
	Sessions Sessions `json:"sessions,omitzero"`
	// Cluster is the address of the Redis that replicas share, for what one
	// replica must tell another: answers to questions, cancellations, facts of
	// sessions. redis://[user:password@]host:port[/database], rediss:// for TLS.
	// Further hosts (of a Redis Cluster, or Sentinels) follow with commas or as
	// ?addr=host:port; ?master_set=NAME makes the hosts Sentinels, to which
	// &sentinel_user= and &sentinel_password= log in. A Redis Cluster must be of
	// version 7 or later. Without it this replica is alone. A change takes effect
	// after a restart.
	Cluster Secret `json:"cluster,omitempty" example:"redis://127.0.0.1:6379" env:"TOOLCRIB_CLUSTER,REDIS_URL"`
	// Cache bounds what is kept of servers' answers.
	Cache Cache `json:"cache,omitzero"`
	// Questions bounds what servers ask clients in the middle of a call:
	// elicitation, sampling, roots.
	Questions Questions `json:"questions,omitzero"`
	// Streams bounds the streams that clients keep open for change notices.
	Streams Streams `json:"streams,omitzero"`
	// Overload says from when on this replica refuses requests because it has too
	// much to do.
	Overload Overload `json:"overload,omitzero"`
	// Seal holds the keys that seal session ids and cursors. Replicas that serve
	// the same clients need the same keys.
	Seal Seal `json:"seal,omitzero"`
	// Zone is where this replica runs, such as an availability zone: instances of
	// servers that run there too are preferred as balance.away says.
	Zone string `json:"zone,omitempty" example:"eu-central-1a" env:"TOOLCRIB_ZONE"`
	// StateDir is the directory for what is kept between starts, such as the seal
	// keys. Default: $XDG_STATE_HOME/toolcrib, else ~/.local/state/toolcrib. A
	// leading ~/ is the home directory. A change takes effect after a restart.
	StateDir string `json:"stateDir,omitempty" example:"/var/lib/toolcrib" env:"TOOLCRIB_STATE_DIR"`
	// Runner bounds the instances of all isolated servers together.
	Runner Runner `json:"runner,omitzero"`
	// Launch says which programs may be started as servers.
	Launch Launch `json:"launch,omitzero"`
	// Log says what is logged to stderr, and how.
	Log Log `json:"log,omitzero"`
	// Telemetry says where traces are sent.
	Telemetry Telemetry `json:"telemetry,omitzero"`
	// KeepAlive is how long a client may hear nothing of what it waits for: then it is
	// sent progress, where it gave a progressToken, and an empty comment where it did
	// not, so that neither it nor anything between gives the call up.
	KeepAlive Duration `json:"keepAlive,omitzero" default:"15s" min:"100ms" max:"1h"`
	// DrainTimeout is how long running calls may go on after the gateway was told
	// to stop.
	DrainTimeout Duration `json:"drainTimeout" default:"30s" env:"TOOLCRIB_DRAIN_TIMEOUT"`
	// DrainDelay is how long the gateway still takes new connections and calls after
	// it was told to stop, while /health/ready answers 503 and answers close their
	// connections, so that balancers go elsewhere before the port closes; at most 10m.
	// Default: 5s, and 0s where listen is a loopback address.
	DrainDelay *Duration `json:"drainDelay,omitempty" max:"10m" env:"TOOLCRIB_DRAIN_DELAY"`

	// Warnings tell what a parsed file holds that has no effect here or serves
	// nobody, each with line and path. They are not part of the configuration.
	Warnings []string `json:"-"`
}

// Server is one MCP server: a command that is started and spoken to over its
// standard input and output, or the URL of a server that runs already. Exactly
// one of command and url is given.
type Server struct {
	// Type is how the server is spoken to: stdio, http (Streamable HTTP) or sse
	// (the HTTP+SSE transport of 2024-11-05; url is then the address of its stream,
	// most often one that ends in /sse). Left out, it follows from command or url,
	// and a server that takes no Streamable HTTP at url is asked for that stream.
	// The spellings streamable-http, streamable_http and streamableHttp mean
	// http; the key may also be written transport or transportType.
	Type string `json:"type,omitempty" enum:"stdio,http,sse" alias:"transport,transportType"`
	// Command is the program to start: a name that is looked up in PATH, or a
	// path. A relative path starts at cwd: unless that is set, at the folder where
	// the gateway was started, not at that of the file.
	Command string `json:"command,omitempty" example:"npx"`
	// Args are the arguments of the command. ${principal.subject} and
	// ${principal.tenant} stand for the caller that an instance is for, here, under
	// env and headers, in cwd and url.
	Args []string `json:"args,omitempty" example:"-y" refers:"caller"`
	// Package is a server to start from a package registry, in place of a command:
	// npx:NAME@VERSION, uvx:NAME==VERSION or go:MODULE@VERSION. Args are its
	// arguments. The command pull fetches and pins it, so that a start needs no network.
	Package string `json:"package,omitempty" example:"npx:@modelcontextprotocol/server-everything@2026.1.14"`
	// Isolation says which callers share an instance of the command: all (shared),
	// those of a tenant, one principal or one session. Default: what env, args, cwd,
	// url and headers refer to (${principal.subject} and ${credential:NAME}:
	// principal, ${principal.tenant} and ${tenant:NAME}: tenant), which no other
	// value may fall short of; else principal where forwardToken is on or, for a
	// command, auth says who callers are, and shared where it does not. An instance of a server with a url
	// is its connections and sessions for one of them. Clients of 2026-07-28 have no
	// sessions; those of one principal share an instance where the isolation is
	// session.
	Isolation string `json:"isolation,omitempty" enum:"shared,tenant,principal,session"`
	// Pool says how many instances run and what each may do at once.
	Pool Pool `json:"pool,omitzero"`
	// Resources bound what an instance may use.
	Resources Resources `json:"resources,omitzero"`
	// Sandbox confines an instance; left out, nothing is confined.
	Sandbox *Sandbox `json:"sandbox,omitempty"`
	// User is the user that the command runs as, by name or number, perhaps with a
	// group: "nobody" or "1000:1000". The gateway must run as root for it.
	User string `json:"user,omitempty" example:"nobody"`
	// Restarts say when a server that keeps crashing is given up.
	Restarts Restarts `json:"restarts,omitzero"`
	// Liveness says how an instance that seems to hang is found out.
	Liveness Liveness `json:"liveness,omitzero"`
	// Env are environment variables for the command, added to a short list that
	// every child gets (PATH, HOME, locale, proxy settings and the like). Nothing
	// else of the gateway's environment is passed on. Numbers and booleans are
	// taken as they are written; null leaves the variable out. ${credential:NAME}
	// is a secret of the caller, from auth.apiKeys, and ${tenant:NAME} a value of
	// its tenant, from tenants.
	Env map[string]string `json:"env,omitempty" scalar:"any" refers:"caller"`
	// Cwd is the working directory of the command. Default: the folder where
	// the gateway was started; for an instance that is not shared or has a
	// sandbox a new empty folder, which is removed afterwards, unless an argument
	// is a relative path to something in the former. A leading ~/ is the home
	// directory.
	Cwd string `json:"cwd,omitempty" refers:"caller"`
	// URL is the http or https address of a running server. The keys serverUrl
	// and httpUrl mean the same. ${principal.subject} and ${principal.tenant} may
	// stand in its path and query, ${tenant:NAME} also in the host, or at the
	// beginning for scheme and host: who calls never chooses where to.
	URL string `json:"url,omitempty" example:"https://search.internal/mcp" alias:"serverUrl,httpUrl" refers:"caller"`
	// URLs are the instances of a server that runs more than once, in place of url.
	URLs []Instance `json:"urls,omitempty" example:"http://10.0.0.7:8000/mcp"`
	// DNS finds the instances by the name in url.
	DNS *DNS `json:"dns,omitempty"`
	// Balance says how calls are spread over instances.
	Balance Balance `json:"balance,omitzero"`
	// Health says how instances that fail are found out.
	Health Health `json:"health,omitzero"`
	// Breaker has an instance that keeps failing not be called for a while; left
	// out, there is none.
	Breaker *Breaker `json:"breaker,omitempty"`
	// Concurrency bounds the calls that a server with a url has at once; further ones are
	// refused at once (503). Left out, there is no bound but those of limits.
	Concurrency *AdaptiveConcurrency `json:"concurrency,omitempty"`
	// Headers are sent with every request to url. Headers that the protocol sets
	// itself (Mcp-*, Host, Content-Length and the like) are refused. They may refer
	// to the caller as env does.
	Headers map[string]string `json:"headers,omitempty" refers:"caller"`
	// Prefix stands, with names.separator, before the names of this server's
	// tools and prompts at the aggregated endpoint. Default: the server's name,
	// with _ for every character outside A-Z a-z 0-9 _ -. An empty prefix leaves
	// the names as they are; one server may have it.
	Prefix *string `json:"prefix,omitempty" pattern:"^[A-Za-z0-9_-]{0,64}$"`
	// Disabled leaves the server out, as if it were not in the file; variables
	// that it refers to need not be set.
	Disabled bool `json:"disabled,omitempty" default:"false"`
	// Timeouts bound how long this server is waited for.
	Timeouts Timeouts `json:"timeouts,omitzero"`
	// Retries say how often requests to the server are sent again that failed.
	Retries Retries `json:"retries,omitzero"`
	// Hedge sends a request for a list a second time, beside the first, when no
	// answer has come after so long; the first answer counts. 0s never does.
	Hedge Duration `json:"hedge" default:"0s" max:"1h"`
	// Fallback says what stands in for the server while it gives no answer.
	Fallback Fallback `json:"fallback,omitzero"`
	// Tenants are the tenants whose principals may use the server. Left out, those
	// of all may.
	Tenants []string `json:"tenants,omitzero" null:"refused" example:"acme"`
	// Labels are facts of the server for policies.
	Labels map[string]string `json:"labels,omitempty"`
	// Identity tells the server for whom each request is.
	Identity *Assertion `json:"identity,omitempty"`
	// ForwardToken sends the caller's own token on to url, as Authorization: that of an
	// issuer, never a key. It is for a server that accepts tokens meant for this
	// gateway; no other is to see one.
	ForwardToken bool `json:"forwardToken,omitempty" default:"false"`
	// Pin says what happens to a tool whose definition is not as it was approved, in
	// place of the configuration's own pin.
	Pin string `json:"pin,omitempty" enum:"strict,warn,off"`
	// Tools are settings of single tools, by the server's own name for them or by a
	// pattern.
	Tools map[string]ToolSettings `json:"tools,omitempty"`
	// ListTTL is how long a list of this server counts as fresh when the server
	// itself does not say (ttlMs). 0s asks the server for every list.
	ListTTL Duration `json:"listTTL" default:"5s"`
	// Cache says what is kept of this server's answers.
	Cache ServerCache `json:"cache,omitzero"`
}

// Timeouts bound how long a server is waited for; each is at least 1ms, or 0s
// where that means none.
type Timeouts struct {
	// Connect bounds opening a connection to url, with TLS.
	Connect Duration `json:"connect,omitzero" default:"5s" min:"1ms" max:"365d"`
	// Start bounds starting a command until it answers the first request. A
	// launcher such as npx downloads the server within it.
	Start Duration `json:"start,omitzero" default:"60s" min:"1ms" max:"365d"`
	// List bounds each list (tools, prompts, resources), with all its pages. A
	// server that needs longer is left out of that list.
	List Duration `json:"list,omitzero" default:"10s" min:"1ms" max:"365d"`
	// Idle is how long the server may be silent within any other request. Whatever
	// it says of the request, such as its progress, has the time begin anew. The key
	// may also be written call.
	Idle Duration `json:"idle,omitzero" default:"5m" min:"1ms" max:"365d" alias:"call"`
	// FirstByte is how long the server may take for the first byte of its answer:
	// the head of the response for a server with a url, the first message about the
	// request over stdio and HTTP+SSE. 0s leaves that to idle, or list.
	FirstByte Duration `json:"firstByte,omitzero" default:"0s" max:"365d"`
	// Total bounds a request as a whole, with waiting for an instance, retries, all
	// progress, every round of questions to the client, and the task that a server
	// makes of it for a client that knows none, but without the time that the client
	// takes to answer. A server that answers in place of this one has its own. 0s is
	// no bound.
	Total Duration `json:"total,omitzero" default:"0s" max:"365d"`
}

// Retries say how often requests to a server are sent again that failed: only
// those of which nothing was sent, and those that may be carried out twice, which
// are lists, reads, prompts, completions and calls of tools that are annotated
// with readOnlyHint or idempotentHint. Such a request is sent again when the
// connection broke, the server failed or was overloaded (HTTP 429 and 5xx), or
// its answer did not begin in time; not when the server answered it.
type Retries struct {
	// Attempts is how often one request is sent again at most; 0 for never.
	Attempts int `json:"attempts" default:"2" min:"0" max:"10"`
	// Backoff is the pause before the first repetition, give or take a half; it
	// doubles with each one.
	Backoff Duration `json:"backoff,omitzero" default:"100ms" min:"1ms" max:"1m"`
	// Budget is how many of a hundred requests may be sent again, besides ten that
	// always may: a server that fails all of them is not asked much more often.
	Budget int `json:"budget" default:"10" min:"0" max:"100"`
}

// Fallback says what stands in for a server while it gives no answer.
type Fallback struct {
	// Lists is how long the last lists that the server gave stay listed while it
	// gives no others: it is being started again, fails, or is slow. 0s leaves its
	// names out at once.
	Lists Duration `json:"lists" default:"5m" max:"7d"`
	// After is how long a caller waits for a new list before the last one is given.
	After Duration `json:"after" default:"1s" max:"1h"`
	// Stale has what the server answered last stand in for other answers, as far as
	// the cache keeps them, and how long it keeps them for that: results of tools
	// only where the cache is on for them. It comes before server and message.
	Stale Duration `json:"stale,omitzero" default:"0s" max:"7d"`
	// Server is another server that is asked in place of this one, for what has the
	// same name there. Callers get only what they may have of it themselves. A tool
	// that may have been carried out already goes there only if it is annotated
	// with readOnlyHint or idempotentHint. It comes before message.
	Server string `json:"server,omitempty" example:"search-eu"`
	// Message is what callers are told last: as the result of a tool that failed
	// (isError), or as the text of an error.
	Message string `json:"message,omitempty" example:"Search is being maintained; try again after 18:00."`
}

// ToolTimeouts are the time limits of one tool, in place of its server's.
type ToolTimeouts struct {
	// Idle is how long the server may be silent; the key may also be written call.
	Idle Duration `json:"idle,omitzero" max:"365d" alias:"call"`
	// FirstByte is how long it may take for the first byte of its answer.
	FirstByte Duration `json:"firstByte,omitzero" max:"365d"`
	// Total bounds a call as a whole.
	Total Duration `json:"total,omitzero" max:"365d"`
}

// Names says how the names of several servers are joined at /mcp.
type Names struct {
	// Separator stands between the prefix of a server and the name of its tool:
	// files__read_file.
	Separator string `json:"separator,omitempty" default:"__" pattern:"^[A-Za-z0-9_.-]{1,8}$"`
}

// Messages bounds what a single JSON-RPC message may be.
type Messages struct {
	// MaxBytes is the size of the largest message that is accepted, from clients
	// and from servers; 1Ki to 1Gi.
	MaxBytes Size `json:"maxBytes,omitzero" default:"16Mi" min:"1Ki" max:"1Gi" env:"TOOLCRIB_MESSAGES_MAX_BYTES"`
	// MaxDepth is how deep objects and arrays of a message may nest; 8 to 10000.
	MaxDepth int `json:"maxDepth,omitzero" default:"128" min:"8" max:"10000"`
}

// Sessions concerns the sessions of legacy clients.
type Sessions struct {
	// TTL is how long a session id stays valid after it was given out; at least 1m.
	TTL Duration `json:"ttl,omitzero" default:"24h" min:"1m"`
}

// Questions bounds what servers ask clients in the middle of a call. A call that waits for an answer is parked: it holds
// a connection or a place at its server.
type Questions struct {
	// Timeout is how long a parked call waits for the client's answers before it
	// is cancelled at the server; at least 1s.
	Timeout Duration `json:"timeout,omitzero" default:"5m" min:"1s" max:"1h"`
	// Rounds is how often a server may ask within one call; 1 to 100.
	Rounds int `json:"rounds,omitzero" default:"10" min:"1" max:"100"`
	// PerPrincipal bounds the parked calls of one principal at this replica.
	PerPrincipal int `json:"perPrincipal,omitzero" default:"100" min:"1"`
	// PerServer bounds the parked calls at one server.
	PerServer int `json:"perServer,omitzero" default:"1000" min:"1"`
	// Total bounds the parked calls of this replica.
	Total int `json:"total,omitzero" default:"10000" min:"1"`
}

// Streams bounds the streams that clients keep open for change notices.
type Streams struct {
	// PerPrincipal bounds the open streams of one principal at this replica.
	PerPrincipal int `json:"perPrincipal,omitzero" default:"100" min:"1"`
	// Total bounds the open streams of this replica.
	Total int `json:"total,omitzero" default:"10000" min:"1"`
	// Subscriptions bounds the resources that one stream or session watches.
	Subscriptions int `json:"subscriptions,omitzero" default:"1000" min:"1"`
	// ServerSubscriptions bounds the resources that are watched at one server for
	// all clients of this replica; one caller that has a key can use half of it.
	ServerSubscriptions int `json:"serverSubscriptions,omitzero" default:"10000" min:"1"`
}

// Seal holds the keys of sealed tokens.
type Seal struct {
	// Keys are base64 keys of 32 bytes, newest first: the first seals, all open.
	// An entry may hold several keys, one a line, and lines of # comments, so that
	// a key file can be referred to as ${file:/etc/toolcrib/seal.keys}. Without keys, a
	// key is made in stateDir on the first start.
	Keys []Secret `json:"keys,omitempty" example:"${file:/etc/toolcrib/seal.keys}"`
}
