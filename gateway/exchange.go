package gateway

import (
	"context"
	"net/http"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/limit"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
	"github.com/toolcrib/toolcrib/runner/pool"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

// Exchange is one request on its way through the corridor. The front fills in the first part and pools exchanges.
type Exchange struct {
	// Header is the client's HTTP header, Request what it and its connection say of who sent it.
	Header  http.Header
	Request identity.Request
	// HTTPMethod is that of the request, Operation what is asked where no message says that: session/end.
	HTTPMethod, Operation string
	// Endpoint is what was asked: a server, or a toolset behind ToolsetsAt; empty for the aggregated endpoint.
	Endpoint string
	// Session names the client's own session, within all callers, when servers must not mistake it for another one of the same
	// principal: what a client answers to a server is not for another client. Empty for every other client.
	Session string
	// Protocol is the version that a legacy client speaks, where it is known.
	Protocol string
	// Within names the legacy session of the client, within all callers; empty where there is none.
	Within string
	// In is the request; Client who asks, Principal who it is for.
	In        mcp.Raw
	Client    upstream.Client
	Principal *identity.Principal
	// Notify hands a notification that belongs to the request to the client, before the answer; nil drops them.
	Notify func(*mcp.Raw)
	// Carrier says that the message went on as an exchange of its own, which is counted in this one's place.
	Carrier bool
	// Out is the answer after Serve returned without an error.
	Out mcp.Raw

	partial  bool // the list lacks what some server has
	counted  bool // among the requests under way
	bulk     bool // it can wait
	started  time.Time
	recorded bool // for the audit log
	world    *world
	sought   string    // the endpoint, by the name that the client gave
	at       *endpoint // that serves it
	// view is what concerns the caller of the policies; nil where nothing is enforced. decision is what was decided by facts.
	view      *policy.View
	facts     policy.Facts
	decision  policy.Decision
	unsettled bool    // the decision waits for the caller's instance
	whole     bool    // it is a request of the gateway itself, which decides of the answer what its caller sees
	member    *member // the server the request goes to
	call      upstream.Call
	name      []byte // decoded name or uri
	scratch   [256]byte
	rename    []byte
	tailor    *plan.ToolsetTool // what a toolset has different of the tool; nil for nothing
	tailored  bool              // In is as tailor has it
	misfit    error             // why it cannot be; told to those who may call the tool
	tool      *telemetry.Tool

	hashing  []byte        // room for keys, and for what is added to a kept answer
	recalled cache.Outcome // what came of looking for a kept answer

	state   []byte            // raw requestState that a legacy client's front brings back; nil for none
	answers []upstream.Answer // to what the last answer asked
	rounds  uint8             // of questions so far
	parked  uint64            // the call that waits at its server for answers; 0 for none
	holder  *upstream.Server  // that has the parked call to be resumed
	held    hold              // the caller's own instance, where it has one
	handed  bool              // over by another replica, as this one has the instance
	stays   bool              // another replica sent it for what it continues here, so that it goes to none again

	ticket  limit.Ticket  // what it took of limits
	bearer  []byte        // what names its credential to limits
	judged  limit.Subject // what limits judge it by
	metered bool          // it counted against those of its caller
	aimed   bool          // and of what it asks for

	tracer *telemetry.Tracer
	trace  *trace.Record // nil where nothing is traced
	notes  *trace.Record // the same, or one of its own where only its caller is told
	timed  bool          // its caller is

	diverted string  // the server in whose place another one answers; empty for none
	about    *task   // that the request is about, or that is waited for in its place; nil for none
	progress float64 // that the client was told of
}

// hashingMost bounds the room for keys that an exchange keeps for its next request.
const hashingMost = 64 << 10

// Reset makes an exchange ready for its next request; the buffers of the last one are given back.
func (x *Exchange) Reset() {
	x.In.Free()
	x.Out.Free()
	rename, hashing := x.rename[:0], x.hashing[:0]
	x.Session, x.Within, x.Protocol, x.Carrier, x.partial = "", "", "", false, false
	x.tracer, x.trace, x.notes, x.timed = nil, nil, nil, false
	x.Request = identity.Request{}
	x.HTTPMethod, x.Operation, x.started, x.recorded = "", "", time.Time{}, false
	x.Header, x.Endpoint, x.Client, x.Principal, x.Notify = nil, "", upstream.Client{}, nil, nil
	x.world, x.at, x.member, x.name, x.tool = nil, nil, nil, nil, nil
	x.tailor, x.tailored, x.misfit = nil, false, nil
	x.bearer, x.judged, x.metered, x.aimed = x.bearer[:0], limit.Subject{}, false, false
	x.state, x.answers, x.rounds, x.parked, x.holder = nil, nil, 0, 0, nil
	x.about, x.progress, x.handed, x.stays, x.diverted = nil, 0, false, false, ""
	x.view, x.facts, x.decision, x.unsettled, x.whole = nil, policy.Facts{}, policy.Decision{}, false, false
	x.counted, x.bulk = false, false
	x.call = upstream.Call{}
	if cap(hashing) > hashingMost {
		hashing = nil
	}
	x.rename, x.hashing, x.recalled = rename, hashing, cache.NotSought
}

// Plan is the plan the exchange is served by, once it was admitted.
func (x *Exchange) Plan() *plan.Plan { return x.world.plan }

// stage is one step of the corridor. An error ends the walk; done says that Out holds the answer.
type stage struct {
	name string
	run  func(context.Context, *Gateway, *Exchange) (done bool, err error)
}

// Leave ends what servers keep for a session that is over: session and within as the exchanges of its client have them.
func (g *Gateway) Leave(session, within string) {
	w := g.acquire()
	defer g.release(w)
	for _, m := range w.order {
		if session != "" {
			m.server.Leave(session)
		}
		if within != "" && m.Spec.Balance.State == v1.StateKept {
			m.server.Leave(keeper(within))
		}
		if m.family != nil && within != "" {
			m.family.leave(within)
		}
	}
}

// leave ends the instance of a session that is over, as soon as nobody uses it.
func (f *family) leave(session string) {
	if f.plan.Isolation == v1.IsolationSession {
		f.pool.Leave(pool.Key{Name: session})
	}
}

// caller tells apart those who must not share a session at a server.
func (x *Exchange) caller() string {
	if x.Session != "" {
		return x.Session
	}
	if x.Within != "" && x.member.Spec.Balance.State == v1.StateKept {
		return keeper(x.Within)
	}
	return x.Principal.Key()
}

// keeper is whose session it is at a server that keeps something in it: that of one session of a client.
func keeper(within string) string { return "session " + within }
