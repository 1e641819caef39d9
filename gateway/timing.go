package gateway

import (
	"encoding/json"
	"time"

	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/policy"
)

// timingsRead is what a policy must permit for the timing of a request.
const timingsRead = "timings:read"

// note begins what is noted of the request: for its trace, and for a caller who wants to know where its time goes.
func (x *Exchange) note() {
	x.notes = x.trace
	if x.Header[trace.HeaderTiming] == nil {
		return
	}
	if x.notes == nil {
		x.notes = &trace.Record{Start: x.started}
	}
	x.notes.Timed = true
}

// mayTime refuses who may not know where time goes. That it was asked for is not ignored: the caller waits for it.
func (x *Exchange) mayTime() error {
	if x.notes == nil || !x.notes.Timed {
		return nil
	}
	set := x.world.plan.Policies
	if v := x.Header[trace.HeaderTiming]; len(v) != 1 || v[0] != "1" {
		return errs.E("gateway", errs.BadRequest, "%s is %.40q; it asks for the timing of the request, with the value 1", trace.HeaderTiming, v)
	}
	if set.Enforced() && !set.View(x.Principal).MayManage(timingsRead, &policy.Facts{Now: x.started, Address: x.Request.Remote.Addr()}).Allowed {
		return errs.E("authorize", errs.Forbidden, "%s takes %s; leave the header out, or have somebody with the role admin give you a role that has "+
			"%[2]s in manage", trace.HeaderTiming, timingsRead)
	}
	x.timed = true
	return nil
}

// Timing is where the time of the request went so far, as JSON; nil where that was not asked for, or not by somebody who may know.
func (x *Exchange) Timing() []byte {
	if !x.timed {
		return nil
	}
	t := x.notes.Timing(x.started, time.Now())
	spent := &x.call.Timing
	t.Queue, t.Start, t.AtServer = spent.Queue.Seconds(), spent.Start.Seconds(), spent.Server.Seconds()
	if x.member != nil {
		t.Server = x.member.Name
	}
	if x.recalled != cache.NotSought {
		t.Cache = x.recalled.String()
	}
	text, err := json.Marshal(t)
	if err != nil {
		return nil // there is nothing in it that could not be written
	}
	return text
}
