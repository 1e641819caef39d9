package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/mcp"
)

// SchemaVersion is the version of OCSF that records are in the form of.
const SchemaVersion = "1.6.0"

const (
	textMost      = 512       // bytes of a text from outside
	groupsMost    = 64        // groups of a principal that are named
	argumentsMost = 256 << 10 // bytes of arguments that are recorded as they are; longer ones are as their hash
	sessionShown  = 8         // bytes of the hash of a session
	argumentsHash = 16        // bytes of the hash of arguments
)

// rules are what a configuration says of records, made ready for use.
type rules struct {
	on      bool
	records string
	redact  []string // in lower case
	args    []v1.AuditArguments
	salt    []byte
	head    string // of every body
	replica string // the end of every body's own part
}

func newRules(c *v1.Config, o *Options, s *signer) *rules {
	r := &rules{on: true, records: c.Audit.Records, redact: lower(c.Audit.Redact), args: c.Audit.Arguments, salt: s.salt[:]}
	b := append([]byte(`,"version":"`), SchemaVersion...)
	b = append(b, `","product":{"name":"Toolcrib","vendor_name":"Toolcrib","version":`...)
	b = mcp.AppendString(b, o.Version)
	r.head = string(append(b, `},"log_name":"audit","profiles":["security_control","trace"]`...))
	r.replica = string(append(mcp.AppendString([]byte(`"replica":`), o.Replica), ','))
	return r
}

// class is what OCSF has for a kind of record.
type class struct {
	text string // category and class; their names go without saying, as those of activities do
	uid  int
}

var classes = [...]class{
	Call:       {`"category_uid":6,"class_uid":6003`, 6003},
	Logon:      {`"category_uid":3,"class_uid":3002`, 3002},
	Management: {`"category_uid":6,"class_uid":6003`, 6003},
	Lifecycle:  {`"category_uid":6,"class_uid":6002`, 6002},
}

// activity is a value of activity_id.
type activity int

// The activities, of API Activity where no other class is named.
const (
	creates activity = 1
	reads   activity = 2
	updates activity = 3
	deletes activity = 4
	other   activity = 99
	logon   activity = 1 // of Authentication
	starts  activity = 3 // of Application Lifecycle
	stops   activity = 4
)

// activities are those of operations; what is not among them is other, a tool's call too: what it does, its server knows.
var activities = map[string]activity{
	"initialize": creates, "resources/subscribe": creates, "subscriptions/listen": creates, "session/open": creates, "session/listen": creates,
	"resources/unsubscribe": deletes, "tasks/cancel": deletes, "session/end": deletes,
	"logging/setLevel": updates, "tasks/update": updates,
	"server/discover": reads, "ping": reads, "completion/complete": reads, "prompts/get": reads, "prompts/list": reads, "resources/list": reads,
	"resources/read": reads, "resources/templates/list": reads, "tools/list": reads, "tasks/get": reads, "tasks/result": reads, "tasks/list": reads,
}

func (r *Record) activity() activity {
	switch r.Kind {
	case Logon:
		return logon
	case Management, Lifecycle:
		switch _, verb, _ := strings.Cut(r.Operation, "."); verb {
		case "create", "approve":
			return creates
		case "list", "get", "read", "search", "explain", "test":
			return reads
		case "update", "rotate":
			return updates
		case "revoke", "delete":
			return deletes
		}
		return other
	}
	if a, ok := activities[r.Operation]; ok {
		return a
	}
	return other
}

// lifecycle are the activities of Application Lifecycle.
var lifecycle = map[string]activity{"start": starts, "stop": stops}

// encoder puts a record together. A member that is empty is left out.
type encoder struct{ b []byte }

func (e *encoder) raw(s string) { e.b = append(e.b, s...) }

func (e *encoder) text(key, value string) {
	if value == "" {
		return
	}
	e.raw(key)
	e.b = mcp.AppendString(e.b, clipped(value))
}

func (e *encoder) number(key string, n int64) {
	e.raw(key)
	e.b = strconv.AppendInt(e.b, n, 10)
}

func (e *encoder) count(key string, n int64) {
	if n != 0 {
		e.number(key, n)
	}
}

// clipped cuts a text from outside.
func clipped(s string) string {
	if len(s) <= textMost {
		return s
	}
	n := textMost
	for n > textMost-utf8.UTFMax && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "…"
}

// encode appends the body of a record's line.
func (s *rules) encode(dst []byte, r *Record) []byte {
	e := encoder{dst}
	e.raw(s.head)
	e.text(`,"tenant_uid":`, r.Tenant)
	e.raw("},")
	e.raw(classes[r.Kind].text)
	a := r.activity()
	if r.Kind == Lifecycle {
		if a = lifecycle[r.Operation]; a == 0 {
			a = other
		}
	}
	e.number(`,"activity_id":`, int64(a))
	e.number(`,"type_uid":`, int64(classes[r.Kind].uid*100+int(a)))
	e.status(r)
	e.number(`,"time":`, r.Time.UnixMilli())
	e.count(`,"duration":`, r.Took.Milliseconds())
	e.decision(r)
	if r.Kind == Lifecycle {
		e.raw(`,"app":{"name":"Toolcrib"}`)
	} else {
		e.who(r)
		e.what(r)
	}
	e.unmapped(s, r)
	return e.b
}

// status is how it ended.
func (e *encoder) status(r *Record) {
	severity := int64(1) // informational
	switch {
	case r.refused():
		severity = 3 // medium
	case !r.succeeded():
		severity = 2 // low
	}
	e.number(`,"severity_id":`, severity)
	if r.succeeded() {
		e.raw(`,"status_id":1,"status":"Success"`)
	} else {
		e.raw(`,"status_id":2,"status":"Failure"`)
	}
	e.text(`,"status_code":`, r.Outcome)
	e.text(`,"status_detail":`, r.Detail)
}

func (r *Record) succeeded() bool {
	return r.Decision != Denied && (r.Outcome == "ok" || r.Outcome == "")
}

// refused tells whether the caller was refused, rather than that something failed.
func (r *Record) refused() bool {
	if r.Decision == Denied || r.Kind == Logon {
		return true
	}
	switch r.Outcome {
	case "unauthenticated", "forbidden", "insufficient_scope", "no_endpoint", "session_not_found":
		return true
	}
	return false
}

func (e *encoder) decision(r *Record) {
	var word string
	switch r.Decision {
	case Allowed:
		e.raw(`,"action_id":1,"action":"Allowed","disposition_id":1`)
		word = "allowed"
	case Denied:
		e.raw(`,"action_id":2,"action":"Denied","disposition_id":2`)
		word = "denied"
	default:
		return
	}
	e.text(`,"authorizations":[{"decision":`, word)
	if r.Rule != "" {
		e.text(`,"policy":{"name":`, r.Rule)
		e.raw("}")
	}
	e.raw("}]")
}

// who is the caller, and where it calls from.
func (e *encoder) who(r *Record) {
	if r.Kind == Logon {
		e.raw(`,`)
	} else {
		e.raw(`,"actor":{`)
	}
	e.user(r)
	if r.Kind != Logon {
		if r.Session != "" {
			e.raw(`,"session":{"uid":"`)
			e.b = appendShort(e.b, r.Session)
			e.raw(`"}`)
		}
		e.text(`,"app_name":`, r.Client)
		e.text(`,"app_uid":`, r.OAuthClient)
		if r.Issuer != "" {
			e.text(`,"idp":{"name":`, r.Issuer)
			e.raw("}")
		}
		e.raw("}")
	}
	if r.Address.IsValid() {
		e.raw(`,"src_endpoint":{"ip":"`)
		e.b = r.Address.Addr().Unmap().WithZone("").AppendTo(e.b)
		e.number(`","port":`, int64(r.Address.Port()))
		e.raw("}")
	} else {
		e.raw(`,"src_endpoint":{"name":"unknown"}`)
	}
}

func (e *encoder) user(r *Record) {
	e.raw(`"user":{`)
	if r.Subject == "" {
		e.raw(`"name":"unknown","type_id":0}`)
		return
	}
	e.text(`"name":`, r.Subject)
	if r.Tenant != "" {
		e.text(`,"org":{"name":`, r.Tenant)
		e.raw("}")
	}
	if len(r.Groups) > 0 {
		e.raw(`,"groups":[`)
		for i, g := range r.Groups[:min(len(r.Groups), groupsMost)] {
			if i > 0 {
				e.raw(",")
			}
			e.raw(`{"name":`)
			e.b = append(mcp.AppendString(e.b, clipped(g)), '}')
		}
		e.raw("]")
	}
	e.raw("}")
}

// appendShort appends a hash of what names a session: it tells sessions apart and opens none.
func appendShort(dst []byte, session string) []byte {
	var scratch [512]byte
	sum := sha256.Sum256(append(scratch[:0], session...))
	return hex.AppendEncode(dst, sum[:sessionShown])
}

var targets = [...]string{Tool: "tool", Prompt: "prompt", Resource: "resource", Task: "task", ManagedKey: "key", Other: "other"}

// what was asked, and how it was answered.
func (e *encoder) what(r *Record) {
	if r.Kind == Logon {
		e.raw(`,"service":{"name":"Toolcrib"}`)
	} else {
		e.api(r)
	}
	if r.Target != NoTarget && r.Kind != Logon {
		e.text(`,"resources":[{"type":`, targets[r.Target])
		e.text(`,"name":`, shownURI(r))
		e.raw("}]")
	}
	if r.Endpoint != "" {
		e.text(`,"http_request":{"url":{"path":`, r.Endpoint)
		e.raw("}")
		e.text(`,"http_method":`, r.HTTPMethod)
		e.count(`,"length":`, int64(r.BytesIn))
		e.raw("}")
	}
	if r.Status != 0 {
		e.number(`,"http_response":{"code":`, int64(r.Status))
		e.count(`,"length":`, int64(r.BytesOut))
		e.raw("}")
	}
	if r.Trace != "" && r.Kind != Logon {
		e.text(`,"trace":{"uid":`, r.Trace)
		e.raw("}")
	}
}

func (e *encoder) api(r *Record) {
	e.raw(`,"api":{"operation":`)
	operation := r.Operation
	if operation == "" {
		operation = "unknown"
	}
	e.b = mcp.AppendString(e.b, clipped(operation))
	if r.Server != "" {
		e.text(`,"service":{"name":`, r.Server)
		e.raw("}")
	}
	if r.Toolset != "" {
		e.text(`,"group":{"name":`, r.Toolset)
		e.raw("}")
	}
	if r.Code != 0 {
		e.number(`,"response":{"code":`, r.Code)
		e.text(`,"error":`, r.Outcome)
		e.raw("}")
	}
	e.raw("}")
}

// unmapped is what OCSF has no place for, up to the chain, which is put in when the line's turn has come.
func (e *encoder) unmapped(s *rules, r *Record) {
	e.raw(`,"unmapped":{`)
	if r.Kind == Logon || r.Kind == Lifecycle {
		e.member("operation", r.Operation)
	}
	e.member("era", r.Era)
	e.member("identified", r.Method)
	e.member("client_version", r.ClientVer)
	e.member("cache", r.Cache)
	e.arguments(s, r)
	e.share("queue_us", r.Queue)
	e.share("start_us", r.Start)
	e.share("server_us", r.AtServer)
	e.share("transport_us", r.Transport)
	e.share("took_us", r.Took)
	for _, f := range r.Facts {
		e.b = append(mcp.AppendString(e.b, f.Name), ':')
		e.raw(f.JSON)
		e.raw(",")
	}
	e.raw(s.replica)
}

func (e *encoder) member(name, value string) {
	if value != "" {
		e.raw(`"`)
		e.raw(name)
		e.text(`":`, value)
		e.raw(",")
	}
}

func (e *encoder) share(name string, d time.Duration) {
	if d > 0 {
		e.raw(`"`)
		e.raw(name)
		e.number(`":`, d.Microseconds())
		e.raw(",")
	}
}

// The values of AuditArguments.As.
const (
	asNone     = "none"
	asHash     = "hash"
	asRedacted = "redacted"
	asFull     = "full"
)

// how arguments of a tool are recorded.
func (s *rules) how(name string) string {
	for i := range s.args {
		for _, p := range s.args[i].Tools {
			if v1.Like(p, name) {
				return s.args[i].As
			}
		}
	}
	return asHash
}

// arguments are recorded by rule. Those that are too long to be recorded as they are, are so as their hash.
func (e *encoder) arguments(s *rules, r *Record) {
	if len(r.Arguments) == 0 {
		return
	}
	name := r.Shown
	if name == "" {
		name = r.TargetName
	}
	as := s.how(name)
	if as == asNone {
		return
	}
	e.number(`"arguments_bytes":`, int64(len(r.Arguments)))
	e.raw(",")
	if as == asHash || len(r.Arguments) > argumentsMost {
		e.raw(`"arguments_hash":"`)
		sum := s.hash(r.Arguments)
		e.b = append(hex.AppendEncode(e.b, sum[:argumentsHash]), `",`...)
		return
	}
	e.raw(`"arguments":`)
	red := redactor{in: r.Arguments, out: e.b}
	if as == asRedacted {
		red.secret = s.isSecret
	}
	red.value(0)
	e.b = red.out
	e.raw(",")
}

// hash tells arguments apart.
func (s *rules) hash(args []byte) (sum hash) {
	var scratch [512]byte
	if len(s.salt)+len(args) <= len(scratch) {
		return sha256.Sum256(append(append(scratch[:0], s.salt...), args...))
	}
	h := sha256.New()
	h.Write(s.salt)
	h.Write(args)
	h.Sum(sum[:0])
	return sum
}

// shownURI is the name of what was asked for; of a URI, without what may be a secret.
func shownURI(r *Record) string {
	if r.Target != Resource {
		return r.TargetName
	}
	return bareURI(r.TargetName)
}

// bareURI is a URI without user, query and fragment: they may hold secrets.
func bareURI(uri string) string {
	cut := strings.IndexAny(uri, "?#")
	rest := ""
	if cut >= 0 {
		uri, rest = uri[:cut], uri[cut:cut+1]+"…"
	}
	if scheme, after, ok := strings.Cut(uri, "://"); ok {
		host, path, slash := strings.Cut(after, "/")
		if at := strings.LastIndexByte(host, '@'); at >= 0 {
			host = "…" + host[at:]
		}
		uri = scheme + "://" + host
		if slash {
			uri += "/" + path
		}
	}
	return uri + rest
}

// Short is a hash of what must not be on record itself, such as the id of a task.
func Short(secret string) string { return string(appendShort(nil, secret)) }
