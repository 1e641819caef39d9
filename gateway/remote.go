package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// exchangeKind names exchanges on the bus.
const exchangeKind = "exchange"

// letter is an exchange on its way to the replica that holds what it continues.
type letter struct {
	Endpoint  string            `json:"endpoint"`
	Session   string            `json:"session,omitempty"`
	Within    string            `json:"within,omitempty"`
	Principal json.RawMessage   `json:"principal"`
	Client    upstream.Client   `json:"client"`
	Header    http.Header       `json:"header,omitempty"`
	Body      []byte            `json:"body"`
	State     []byte            `json:"state,omitempty"`
	Answers   []upstream.Answer `json:"answers,omitempty"`
	Handed    bool              `json:"handed,omitempty"`
	// Remote is where the caller is.
	Remote netip.AddrPort `json:"remote,omitzero"`
	// Whole: a list or a description is for the other replica itself, which leaves out of it what its caller may not see.
	Whole bool `json:"whole,omitempty"`
	// Trace, TraceState and Baggage are the trace context (W3C) that it goes on in.
	Trace      string `json:"trace,omitempty"`
	TraceState string `json:"traceState,omitempty"`
	Baggage    string `json:"baggage,omitempty"`
}

// elsewhere has another replica serve the exchange, which continues something there. What the server says meanwhile comes back
// as it does here.
func (g *Gateway) elsewhere(ctx context.Context, x *Exchange, replica string) error {
	err := g.send(ctx, x, replica, false)
	if isMoved(err) {
		err = cluster.ErrGone // the instance is, which comes to the same
	}
	switch {
	case errors.Is(err, cluster.ErrGone):
		lost := errs.E("gateway", errs.Lost, "the interaction with the server was lost: the replica or instance that held it is gone. "+
			"The call may have been carried out in part; send the request again without requestState and inputResponses to start anew")
		lost.Err = err
		return lost
	case errors.Is(err, cluster.ErrDown):
		return errs.E("gateway", errs.Unavailable, "the replica that holds the interaction cannot be reached now: %w; send the same request again later", err)
	}
	return err
}

// send sends the exchange to another replica and takes its answer. handed says that it goes there for its instance.
func (g *Gateway) send(ctx context.Context, x *Exchange, replica string, handed bool) (err error) {
	l := letter{
		Endpoint: x.Endpoint, Session: x.Session, Within: x.Within, Principal: x.Principal.Encode(),
		Client: x.Client, Header: mirrors(x.Header), Body: x.In.Body, State: x.state, Handed: handed,
		Remote: x.Request.Remote, Whole: x.whole,
	}
	if x.state != nil || !x.Client.Modern {
		l.Answers = x.answers // a modern client's stand in the body
	}
	if a := x.notes.Attempt(); a != nil {
		a.Replica = replica
		if x.trace == nil { // it asks for something on behalf of the request
			a.Method, a.Server = x.In.Method.String(), x.Endpoint
		}
		l.Trace, l.TraceState, l.Baggage = string(a.AppendParent(nil)), a.State, a.Baggage
		defer func() { x.handedOver(a, err) }()
	}
	request, err := json.Marshal(&l)
	if err != nil {
		return errs.E("gateway", errs.Internal, "%w", err)
	}
	answer, err := g.o.Node.Call(ctx, replica, exchangeKind, request, x.noteFromElsewhere)
	if err != nil {
		return err
	}
	x.Out.Free()
	x.Out.Body = answer
	if e := x.Out.Scan(wide(answer)); e != nil {
		return errs.E("gateway", errs.Internal, "answer of another replica is not valid: %w", e)
	}
	return nil
}

// mirrors are the headers that a server's definitions may ask for.
func mirrors(h http.Header) http.Header {
	var out http.Header
	for name, values := range h {
		if strings.HasPrefix(name, "Mcp-Param-") {
			if out == nil {
				out = http.Header{}
			}
			out[name] = values
		}
	}
	return out
}

func wide(body []byte) mcp.Limits {
	return mcp.Limits{Bytes: len(body), Depth: 1 << 20, Values: 1 << 30}
}

func (x *Exchange) noteFromElsewhere(body []byte) {
	if x.Notify == nil {
		return
	}
	n := mcp.Raw{Body: body}
	if e := n.Scan(wide(body)); e == nil {
		x.Notify(&n)
	}
}

// fromElsewhere serves an exchange that another replica took in. Its caller was identified there.
func (g *Gateway) fromElsewhere(ctx context.Context, request []byte, note func([]byte)) ([]byte, error) {
	var l letter
	if err := json.Unmarshal(request, &l); err != nil {
		return nil, errs.E("gateway", errs.Internal, "letter of another replica: %w", err)
	}
	x := &Exchange{Endpoint: l.Endpoint, Session: l.Session, Within: l.Within, Client: l.Client, Header: l.Header, state: l.State, answers: l.Answers}
	x.handed, x.stays = l.Handed, !l.Handed
	x.Notify = func(n *mcp.Raw) { note(n.Append(nil)) }
	x.In.Body = l.Body
	if e := x.In.Scan(wide(l.Body)); e != nil {
		return nil, errs.E("gateway", errs.Internal, "letter of another replica: %w", e)
	}
	x.started = time.Now()
	x.bind(g.acquire())
	defer g.release(x.world)
	defer x.held.release()
	var err error
	if x.Principal, err = x.world.callers.Decode(l.Principal); err != nil {
		return nil, err
	}
	if x.at == nil {
		return nil, errs.E("gateway", errs.Lost, "the server of the interaction was removed from the configuration")
	}
	x.Request.Remote = l.Remote
	if !l.Whole || !x.In.Method.Facts().List && x.In.Method != mcp.MethodDiscover {
		x.view = x.world.view(x.Principal) // decided where it came in, and here too: configurations may differ
	}
	x.continueTrace(g.o.Traces, &l)
	err = g.Serve(ctx, x)
	took := time.Since(x.started)
	x.measure(errorType(x, err), took)
	x.endTrace(err, took)
	if err != nil {
		return nil, err
	}
	defer x.Out.Free()
	return x.Out.Append(make([]byte, 0, x.Out.Len())), nil
}
