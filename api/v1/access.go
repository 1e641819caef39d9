package v1

// TLS has the gateway serve https, of version 1.2 or later. The files are read
// again when they change; relative paths start at the folder of the configuration
// file.
type TLS struct {
	// Cert is a file with the certificate chain, in PEM.
	Cert string `json:"cert,omitempty" example:"/etc/toolcrib/tls.crt"`
	// Key is a file with the private key of the certificate, in PEM.
	Key string `json:"key,omitempty" example:"/etc/toolcrib/tls.key"`
	// ClientCA is a file with the certificates, in PEM, that sign the certificates
	// of clients. A client may then show one; whom it stands for is said by
	// auth.clientCertificates.
	ClientCA string `json:"clientCA,omitempty" example:"/etc/toolcrib/clients.crt"`
}

// Auth says who may call. Without any entry every caller is anonymous.
type Auth struct {
	// Anonymous says whether callers without credentials are served, as the
	// principal anonymous of the tenant default: allow or deny. Default: deny where
	// any other key of auth says who callers are, be it with an empty list, allow
	// where none does.
	Anonymous string `json:"anonymous,omitempty" enum:"allow,deny"`
	// Issuers are the authorization servers whose access tokens are accepted, sent
	// by clients as Authorization: Bearer TOKEN. Clients find them through the
	// metadata of each endpoint (RFC 9728).
	Issuers []Issuer `json:"issuers,omitzero" null:"refused"`
	// APIKeys are static keys, sent by clients as Authorization: Bearer KEY. Others
	// are made with toolcrib keys.
	APIKeys []APIKey `json:"apiKeys,omitzero" null:"refused"`
	// ClientCertificates takes callers by the certificate that they show; it needs
	// tls.clientCA.
	ClientCertificates *ClientCertificates `json:"clientCertificates,omitempty" null:"refused"`
	// TrustedProxy takes callers from headers that a proxy in front of the gateway
	// sets, and from nobody else.
	TrustedProxy *TrustedProxy `json:"trustedProxy,omitempty" null:"refused"`
	// Revocation is how soon at the latest it counts for calls and open streams that
	// a caller has lost its key, its token, a group or a grant.
	Revocation Duration `json:"revocation,omitzero" default:"30s" min:"1s" max:"1h"`
}

// Open reports whether callers without a credential are served.
func (a *Auth) Open() bool {
	return a.Anonymous == AnonymousAllow || a.Anonymous == "" && !a.Configured()
}

// Unguarded reports whether callers without a credential are served that
// nobody decided to serve: anonymous is left out, or nothing keeps them from
// calling everything.
func (c *Config) Unguarded() bool {
	return !c.Auth.Configured() && (c.Auth.Anonymous == "" || !c.Policies.Any())
}

// Configured reports whether anything says who callers are, or that they need a
// credential: what no policy permits is denied then.
func (a *Auth) Configured() bool {
	return a.APIKeys != nil || a.Issuers != nil || a.ClientCertificates != nil || a.TrustedProxy != nil || a.Anonymous == AnonymousDeny
}

// The values of Auth.Anonymous.
const (
	AnonymousAllow = "allow"
	AnonymousDeny  = "deny"
)

// Issuer is an authorization server whose access tokens are accepted.
type Issuer struct {
	// Issuer is its identifier, a URL, exactly as tokens have it in iss. It is https,
	// but for a loopback address.
	Issuer string `json:"issuer" example:"https://idp.example"`
	// Name tells the principals of this issuer from those of others in policies and
	// records. Default: the host of the issuer.
	Name string `json:"name,omitempty" example:"corporate"`
	// Audience are the values of aud of which a token must have one. Default: the
	// URL of the endpoint that is asked, or that of the gateway, from publicURL or, for
	// callers on this machine, a Host header that is a loopback address (RFC 8707). With
	// values here, tokens that cannot be told from ID tokens are accepted, as some
	// issuers make them.
	Audience []string `json:"audience,omitempty" example:"https://tools.example.com"`
	// Algorithms are the signature algorithms that are accepted. No symmetric one is
	// ever.
	Algorithms []string `json:"algorithms,omitempty" default:"RS256,PS256,ES256,ES384,EdDSA" example:"ES256"`
	// JWKS is the address of the issuer's keys, where its metadata does not tell it.
	JWKS string `json:"jwks,omitempty" example:"https://idp.example/keys"`
	// Skew is how much the clock of the issuer may differ from this one.
	Skew Duration `json:"skew" default:"30s" max:"10m"`
	// Introspection has tokens that are no JWT asked about at the issuer (RFC 7662),
	// or all tokens. Tokens that do not tell whose they are go to one issuer only: of
	// several, all but one have always.
	Introspection *Introspection `json:"introspection,omitempty"`
	// Scopes are the scopes that every token must have; clients are told of them.
	Scopes []string `json:"scopes,omitempty" example:"mcp"`
	// RequestScopes are the scopes that clients are told to ask for, in place of scopes:
	// for an issuer whose tokens have them under other names, or do not have them.
	RequestScopes []string `json:"requestScopes,omitempty" example:"api://tools/mcp"`
	// Clients are the ids of the OAuth clients whose tokens are accepted (client_id or
	// azp). Left out, those of all are.
	Clients []string `json:"clients,omitzero" null:"refused"`
	// Claims say which claims make the principal.
	Claims Claims `json:"claims,omitzero"`
	// Tenant is the tenant of every principal of this issuer, in place of a claim.
	Tenant string `json:"tenant,omitempty" example:"acme"`
	// Tenants are the tenants that tokens of this issuer may name. Left out, all are;
	// a token with another is refused.
	Tenants []string `json:"tenants,omitzero" null:"refused"`
	// CA is a file with further certificates, in PEM, that the issuer's own may be
	// signed by. A relative path starts at the folder of the configuration file.
	CA string `json:"ca,omitempty"`
}

// Introspection asks an issuer about tokens.
type Introspection struct {
	// URL is the endpoint, where the issuer's metadata does not tell it.
	URL string `json:"url,omitempty"`
	// ClientID is the client that the gateway is at the issuer.
	ClientID string `json:"clientID" example:"toolcrib"`
	// ClientSecret is its secret.
	ClientSecret Secret `json:"clientSecret" example:"${env:INTROSPECTION_SECRET}"`
	// Cache is how long an answer is kept at most; never longer than the token lives,
	// nor than auth.revocation. That a token is not good is kept for 10s at most.
	Cache Duration `json:"cache" default:"30s" max:"1h"`
	// Always asks about JWTs too, so that a revoked one is refused.
	Always bool `json:"always,omitempty" default:"false"`
}

// Claims say which claims of a token make the principal. A dot leads into an
// object: realm_access.roles.
type Claims struct {
	// Subject is the claim that names the caller.
	Subject string `json:"subject,omitempty" default:"sub"`
	// Tenant is the claim with the tenant. Without one the tenant is "default"; a
	// token that lacks a configured claim is refused.
	Tenant string `json:"tenant,omitempty" example:"org"`
	// Groups is the claim with the groups: a list, or one string.
	Groups string `json:"groups,omitempty" example:"groups"`
	// Roles is the claim with the names of roles of policies.roles: a list, or one
	// string.
	Roles string `json:"roles,omitempty" example:"realm_access.roles"`
	// Attributes are further facts for policies, by name, each with its claim.
	Attributes map[string]string `json:"attributes,omitempty"`
}

// APIKey is a static key and the principal that it stands for.
type APIKey struct {
	// Name is the subject of the principal; unique.
	Name string `json:"name" example:"ci"`
	// Key is the secret: at least 16 visible ASCII characters, no comma. Refer to it,
	// as in ${env:CI_KEY} or ${file:/run/secrets/ci}, rather than write it down; or
	// write its hash, sha256:HEX, as toolcrib keys hash prints it.
	Key Secret `json:"key" example:"${env:CI_KEY}"`
	// Previous is the key before this one, or its hash, which is accepted too until
	// previousUntil.
	Previous Secret `json:"previous,omitempty"`
	// PreviousUntil is when the previous key ends, as 2026-12-31T00:00:00Z.
	PreviousUntil string `json:"previousUntil,omitempty" example:"2026-12-31T00:00:00Z"`
	// Expires is when the key ends, as 2026-12-31T00:00:00Z. Left out, it does not.
	Expires string `json:"expires,omitempty" example:"2026-12-31T00:00:00Z"`
	// Tenant is the tenant of the principal.
	Tenant string `json:"tenant,omitempty" default:"default"`
	// Groups are the groups of the principal.
	Groups []string `json:"groups,omitempty"`
	// Roles are roles of policies.roles that the principal has.
	Roles []string `json:"roles,omitempty"`
	// Scopes are the OAuth scopes that the principal has, where bindings ask for
	// some.
	Scopes []string `json:"scopes,omitempty"`
	// Attributes are further facts for policies.
	Attributes map[string]string `json:"attributes,omitempty"`
	// Credentials are secrets of the principal that servers may be given, by name:
	// ${credential:NAME} in a server's env stands for the caller's own.
	Credentials map[string]Secret `json:"credentials,omitempty"`
}

// ClientCertificates takes callers by the certificate that they show.
type ClientCertificates struct {
	// Subject is what of the certificate names the caller: its common name (cn), or
	// the first URI, DNS name or e-mail address of its alternative names.
	Subject string `json:"subject,omitempty" default:"cn" enum:"cn,uri,dns,email"`
	// Tenant is the tenant of every such caller; o or ou in tenantFrom takes it from
	// the certificate.
	Tenant string `json:"tenant,omitempty" default:"default"`
	// TenantFrom is what of the certificate's subject names the tenant, in place of
	// tenant.
	TenantFrom string `json:"tenantFrom,omitempty" enum:"o,ou"`
	// GroupsFrom is what of the certificate's subject names the groups.
	GroupsFrom string `json:"groupsFrom,omitempty" enum:"o,ou"`
}

// TrustedProxy takes callers from headers that a proxy sets. Whoever else sends
// such a header is refused. The proxy must take away what clients send under these
// names; what it says counts before Authorization and a client certificate.
type TrustedProxy struct {
	// Addresses are those of the proxy: IP addresses or networks as 10.0.0.0/8.
	Addresses []string `json:"addresses" example:"10.1.2.3"`
	// Subject is the header that names the caller.
	Subject string `json:"subject,omitempty" default:"X-Forwarded-User"`
	// Tenant is the header with the tenant. Without one the tenant is "default".
	Tenant string `json:"tenant,omitempty" example:"X-Forwarded-Tenant"`
	// Groups is the header with the groups, with commas between.
	Groups string `json:"groups,omitempty" example:"X-Forwarded-Groups"`
	// Secret is what the proxy sends in the header secretHeader besides, so that its
	// address alone is not enough.
	Secret Secret `json:"secret,omitempty" example:"${env:PROXY_SECRET}"`
	// SecretHeader is the header with the secret.
	SecretHeader string `json:"secretHeader,omitempty" default:"X-Proxy-Secret"`
}

// Tenant is what is particular to one tenant.
type Tenant struct {
	// Vars are values that servers may refer to as ${tenant:NAME}, in env, cwd, url
	// and headers: a database address of the tenant's own, for example. A principal
	// whose tenant lacks one that a server refers to cannot use that server.
	Vars map[string]Secret `json:"vars,omitempty"`
}

// Policies say what callers may do. Once auth says who callers are, what no
// policy permits is denied; without authentication everything is permitted,
// unless there are policies.
type Policies struct {
	// Roles are what callers may do, by name. Built in are user (every tool, prompt
	// and resource), reader (every tool that says readOnlyHint, every prompt and
	// resource), auditor (reads the audit log and what runs) and admin (everything,
	// management too).
	Roles map[string]Role `json:"roles,omitempty" null:"refused"`
	// Bindings give roles to callers.
	Bindings []Binding `json:"bindings,omitempty" null:"refused"`
	// Cedar are files with policies in the Cedar language, by name or pattern
	// (policies/*.cedar); a relative path starts at the folder of the configuration
	// file. They permit and forbid next to what bindings permit; forbid wins.
	Cedar []string `json:"cedar,omitempty" null:"refused" example:"policies/*.cedar"`
	// Shadow is a file with other policies, of the same keys as this object, that
	// decide nothing: where they would decide otherwise is logged and counted.
	Shadow string `json:"shadow,omitempty" example:"policies-next.yaml"`

	// Files are those that cedar names, as they were read, and Next is what shadow
	// holds. They are not keys.
	Files []PolicyFile `json:"-"`
	Next  *Policies    `json:"-"`
}

// Role is a set of permissions. In patterns * stands for any characters. A key
// that is left out adds nothing, and so does an empty list.
type Role struct {
	// Allow are tools, by the name that they have at /mcp: search__*.
	Allow []string `json:"allow,omitempty" null:"refused" example:"search__*"`
	// Deny are tools and prompts, by the name that they have at /mcp, that the role
	// forbids to whoever has it, whatever permits them.
	Deny []string `json:"deny,omitempty" null:"refused" example:"*__delete_*"`
	// Prompts are prompts, by the name that they have at /mcp.
	Prompts []string `json:"prompts,omitempty"`
	// Resources are resources and resource templates, by URI.
	Resources []string `json:"resources,omitempty" example:"file:///data/*"`
	// Servers are servers of which everything is allowed.
	Servers []string `json:"servers,omitempty" null:"refused"`
	// Toolsets are toolsets of which everything is allowed, at their own endpoints.
	Toolsets []string `json:"toolsets,omitempty" null:"refused"`
	// ReadOnly bounds the tools that allow, servers and toolsets permit to those
	// whose definition says readOnlyHint.
	ReadOnly bool `json:"readOnly,omitempty" default:"false"`
	// Manage is what may be done at the management interface: keys, audit, policy,
	// servers, definitions, cache, limits, each with :read or :write behind, or * for all.
	Manage []string `json:"manage,omitempty" example:"audit:read"`
}

// Binding gives a role to callers: those for whom everything holds that it
// says of them. It says at least one thing.
type Binding struct {
	// Role is the name of a role.
	Role string `json:"role" example:"analyst"`
	// Group is a group of the caller.
	Group string `json:"group,omitempty" example:"analysts"`
	// Subject is the subject of the caller.
	Subject string `json:"subject,omitempty" example:"alice"`
	// Tenant is the tenant of the caller.
	Tenant string `json:"tenant,omitempty" example:"acme"`
	// Issuer is the name of the issuer of the caller's token.
	Issuer string `json:"issuer,omitempty"`
	// Everyone is true for a binding that says nothing of the caller.
	Everyone bool `json:"everyone,omitempty" default:"false"`
	// Scopes are scopes that the caller's token must have too. A client that lacks
	// only them is told which to ask for (insufficient_scope).
	Scopes []string `json:"scopes,omitempty" example:"mcp:write"`
}

// Limit bounds how much callers may ask for. It has at least one of rate,
// concurrency, bytes and quota. A request counts against every limit that it
// falls under, and is refused with 429 when one of them is used up.
type Limit struct {
	// Name is what refusals, metrics and headers call the limit. Default: what it is
	// per, joined by +, or all. Names are unique.
	Name string `json:"name,omitempty" example:"searches" pattern:"^[A-Za-z0-9_.+-]{0,64}$"`
	// Per is what has an amount of its own each: tenant, principal, key (an API key,
	// token or certificate), address (of IPv6 its /64), server, tool, or
	// combinations. A limit per address alone, without servers, tools, tenants,
	// groups and methods, counts before anything else is looked at: it bounds guesses
	// of keys too. One alone needs no list. Left out, all that the limit is for
	// share one amount.
	Per Dimensions `json:"per,omitempty" example:"principal"`
	// Servers are the servers that it is for, by name or pattern. Left out, it is for
	// all.
	Servers []string `json:"servers,omitzero" null:"refused"`
	// Tools are the tools that it is for, by the name that they have at /mcp or by a
	// pattern; it is then for calls of tools only.
	Tools []string `json:"tools,omitzero" null:"refused" example:"search__*"`
	// Tenants are the tenants whose principals it is for, by name or pattern.
	Tenants []string `json:"tenants,omitzero" null:"refused"`
	// Groups are groups of callers; it is for those who are in one of them.
	Groups []string `json:"groups,omitzero" null:"refused"`
	// Methods are the methods of MCP that it is for, by name or pattern.
	Methods []string `json:"methods,omitzero" null:"refused" example:"tools/call"`
	// Rate is how many requests may be made in a time: 50/s, 1000/m, 5000/h. A tool
	// whose cost is not 1 counts as so many.
	Rate string `json:"rate,omitempty" example:"50/s" like:"a number of requests and s, m or h, like 50/s"`
	// Burst is how many requests may come at once, after a pause. Default: the number
	// of rate.
	Burst *int `json:"burst,omitempty" example:"100" min:"1" max:"1000000000"`
	// Concurrency is how many requests may be under way at the same time.
	Concurrency *int `json:"concurrency,omitempty" example:"10" min:"1" max:"1000000"`
	// Bytes is how many bytes requests and their answers may have together in a time:
	// 10Mi/s. They count once they have passed, so a request is refused while earlier
	// ones have used up more.
	Bytes string `json:"bytes,omitempty" example:"10Mi/s" like:"a size and s, m or h, like 10Mi/s"`
	// Quota is how many requests may be made in a day or month of the calendar, in
	// UTC: 100000/day, 1000000/month. Costs count as for rate.
	Quota string `json:"quota,omitempty" example:"100000/day" like:"a number of requests and day or month, like 100000/day"`
}

// Toolset is a named selection over servers, served at /toolsets/NAME/mcp.
type Toolset struct {
	// Title is a name for people.
	Title string `json:"title,omitempty" example:"Support desk"`
	// Instructions are what clients are told of how to use the toolset. Those of its
	// servers are not told here.
	Instructions string `json:"instructions,omitempty"`
	// Servers are the servers whose tools, prompts and resources it may hold.
	Servers []string `json:"servers" example:"search"`
	// Tools are the tools that it holds, by the name that they have at /mcp or by a
	// pattern (search__*), each with what is different here. Left out, it holds all
	// tools of its servers.
	Tools map[string]ToolsetTool `json:"tools,omitzero"`
	// Prompts are the prompts that it holds, by the name that they have at /mcp or by
	// a pattern. Left out, it holds all prompts of its servers.
	Prompts []string `json:"prompts,omitzero"`
	// Resources are the resources and resource templates that it holds, by URI or by
	// a pattern. Left out, it holds all resources of its servers.
	Resources []string `json:"resources,omitzero"`
	// Tenants are the tenants whose principals may see the toolset. Left out, those
	// of all may.
	Tenants []string `json:"tenants,omitzero" null:"refused"`
}

// ToolsetTool is what is different of a tool in a toolset.
type ToolsetTool struct {
	// As is the name of the tool here. Not for a pattern.
	As string `json:"as,omitempty" example:"find" pattern:"^[A-Za-z0-9_.-]{0,128}$"`
	// Title is the title of the tool here.
	Title string `json:"title,omitempty"`
	// Description is the description of the tool here.
	Description string `json:"description,omitempty"`
	// Fix are arguments that every call is made with, whatever the client sends; they
	// are not shown. A call with an argument that differs from one only in case is
	// refused.
	Fix map[string]Literal `json:"fix,omitempty"`
	// Hide are arguments that are neither shown nor accepted. The server must not
	// require them.
	Hide []string `json:"hide,omitempty"`
}

// ToolSettings are settings of one tool of a server, or of those that fit a
// pattern.
type ToolSettings struct {
	// Pin says what happens to a tool whose definition is not as it was approved, in
	// place of the server's own pin.
	Pin string `json:"pin,omitempty" enum:"strict,warn,off"`
	// Timeouts bound how long a call of the tool is waited for, where the server's
	// own are not right for it.
	Timeouts ToolTimeouts `json:"timeouts,omitzero"`
	// Cache is how long results of the tool are kept for calls with the same
	// arguments. It is for tools that only read: where the server says of one that it
	// does not (readOnlyHint: false, or destructiveHint: true), nothing is kept.
	Cache *Duration `json:"cache,omitempty" max:"24h" example:"60s"`
	// Cost is as how many requests a call counts against the rates and quotas of
	// limits; 0 does not count. Default: 1.
	Cost *int `json:"cost,omitempty" example:"20" min:"0" max:"1000000"`
}

// Assertion tells a server for whom each request is, in a signed statement
// (a JWT) of the gateway's own. The caller's own token is never passed on.
type Assertion struct {
	// Header is the header of each request to url that carries it.
	Header string `json:"header,omitempty" default:"X-Toolcrib-Identity"`
	// Meta carries it in params._meta too, under io.toolcrib/identity; to a server
	// with a command, which has no headers, it is the only way.
	Meta bool `json:"meta,omitempty" default:"false"`
	// Audience is aud of the statement. Default: the url of the server, or its name.
	Audience string `json:"audience,omitempty"`
	// TTL is how long the statement is valid.
	TTL Duration `json:"ttl,omitzero" default:"1m" min:"1s" max:"1h"`
	// Claims are the facts of the principal that it holds besides sub and tenant:
	// groups, roles, attributes, client, issuer.
	Claims []string `json:"claims,omitempty" default:"groups"`
}

// Audit says what is recorded of decisions and calls, and where to.
type Audit struct {
	// Sinks are where records go, all of them to each. The first file is the log;
	// without one it is audit/audit.jsonl in stateDir, and what every other sink has
	// got is removed there. Left out, records go to that file, which is kept, once
	// auth says who callers are; an empty list records nothing.
	Sinks []AuditSink `json:"sinks,omitzero"`
	// Records says what is recorded: all, or calls without lists and discovery, or
	// denied: only what was refused, and streams that were ended. Management is recorded always.
	Records string `json:"records,omitempty" default:"all" enum:"all,calls,denied"`
	// Arguments says how the arguments of calls are recorded; the first entry that
	// fits a tool counts. What fits none is recorded as a hash.
	Arguments []AuditArguments `json:"arguments,omitempty"`
	// Redact are names of arguments, by pattern and at any depth, whose values are
	// left out of arguments that are recorded as redacted. Names such as password,
	// token, secret and authorization are among them always.
	Redact []string `json:"redact,omitempty" example:"ssn"`
	// Full says what happens to calls while a sink is further behind than its lag
	// allows: block has them wait up to wait and then refused, refuse refuses them at
	// once. No record is ever dropped.
	Full string `json:"full,omitempty" default:"block" enum:"block,refuse"`
	// Wait is how long a call waits for a sink that is behind.
	Wait Duration `json:"wait,omitzero" default:"5s" min:"1ms"`
	// Checkpoint is how often a signed checkpoint is written, when there are records.
	Checkpoint Duration `json:"checkpoint,omitzero" default:"1m" min:"1s"`
	// Key signs the checkpoints: an Ed25519 private key in PEM (PKCS #8). Default: one
	// that is made in stateDir on the first start.
	Key Secret `json:"key,omitempty" example:"${file:/etc/toolcrib/audit.key}"`
}

// AuditArguments says how the arguments of some tools are recorded.
type AuditArguments struct {
	// Tools are the tools, by the name that they have at /mcp or by a pattern.
	Tools []string `json:"tools" example:"search__*"`
	// As is how: none, hash (of what was sent, with a secret of the gateway's own),
	// redacted (with the values of audit.redact left out) or full, which is as they
	// were sent, secrets too. Those of more than 256 KiB are recorded as a hash.
	As string `json:"as" enum:"none,hash,redacted,full"`
}

// AuditSink is one place that records go to: exactly one of file, stdout, otlp,
// syslog, webhook, sqlite and postgres.
type AuditSink struct {
	// File is a file of JSON lines, each with the hash of the one before. A relative
	// path starts at stateDir. A change of the first one takes effect after a restart.
	File string `json:"file,omitempty" example:"audit.jsonl"`
	// Rotate is the size from which a file is put aside and the next begun.
	Rotate Size `json:"rotate,omitzero" default:"100Mi" min:"64Ki"`
	// Keep is how many files that were put aside are kept; 0 keeps all. One that a
	// sink still needs is kept longer.
	Keep int `json:"keep,omitempty" default:"0" min:"0" max:"100000"`
	// Stdout writes the lines to standard output.
	Stdout bool `json:"stdout,omitempty" default:"false"`
	// OTLP is the address of an OpenTelemetry collector that takes logs over HTTP, as
	// protobuf. With headers it must be https, but for a loopback address.
	OTLP string `json:"otlp,omitempty" example:"http://127.0.0.1:4318/v1/logs"`
	// Syslog is the address of a syslog server (RFC 5424): udp://, tcp://, tls:// with
	// host:port, or unix:// with a path. The last of what was sent is sent again over
	// a new connection; what a datagram cannot hold is cut off there.
	Syslog string `json:"syslog,omitempty" example:"tcp://127.0.0.1:601"`
	// Webhook is a URL that is sent records in batches, as JSON lines. It must be
	// https, but for a loopback address. Only a 2xx counts; anything else is tried
	// again, and redirects are not followed.
	Webhook string `json:"webhook,omitempty" example:"https://siem.example/in"`
	// SQLite is the file of a database with a table of records, toolcrib_audit. A
	// relative path starts at stateDir.
	SQLite string `json:"sqlite,omitempty" example:"audit.db"`
	// Postgres is the address of a PostgreSQL database with a table of records,
	// toolcrib_audit.
	Postgres Secret `json:"postgres,omitempty" example:"${env:DATABASE_URL}"`
	// Headers are sent with each request to otlp and webhook.
	Headers map[string]Secret `json:"headers,omitempty"`
	// Lag is how many bytes of records the sink may be behind.
	Lag Size `json:"lag,omitzero" default:"64Mi" min:"64Ki"`
	// Timeout bounds each attempt to hand records on.
	Timeout Duration `json:"timeout,omitzero" default:"10s" min:"1ms"`
}
