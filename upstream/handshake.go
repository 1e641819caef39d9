package upstream

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// probeTime is how long a child has to answer server/discover before initialize is sent as well.
// Some legacy servers answer nothing to a method they do not know.
const probeTime = 3 * time.Second

// outcome is what one way of opening came to; a nil peer with a nil error means: not this era.
type outcome struct {
	peer *Peer
	err  error
}

// handshake finds the era of a child: server/discover first, and initialize when that is refused or stays unanswered
// (basic/versioning). An answer to server/discover that comes late still counts, so that a slow start is not taken for an era.
func (in *instance) handshake(ctx context.Context, blunt bool) (*Peer, error) {
	if blunt {
		o := in.initialize(ctx)
		return o.peer, o.err
	}
	ctx, stop := context.WithCancel(ctx)
	discover := in.try(func() outcome { return in.discover(ctx) })
	var initialize <-chan outcome
	defer func() {
		stop()
		<-discover.done
		if initialize != nil {
			<-initialize
		}
	}()
	select {
	case o := <-discover.out:
		if o.peer != nil || o.err != nil {
			return o.peer, o.err
		}
		o = in.initialize(ctx)
		return o.peer, o.err
	case <-time.After(probeTime):
	}
	both := in.try(func() outcome { return in.initialize(ctx) })
	initialize = both.out
	select {
	case o := <-discover.out:
		if o.peer != nil {
			return o.peer, nil
		}
		o, initialize = <-initialize, nil
		return o.peer, o.err
	case o := <-initialize:
		initialize = nil
		return o.peer, o.err
	}
}

// attempted is an opening under way.
type attempted struct {
	out  chan outcome
	done chan struct{}
}

func (in *instance) try(f func() outcome) attempted {
	a := attempted{out: make(chan outcome, 1), done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.out <- f()
	}()
	return a
}

func (in *instance) discover(ctx context.Context) outcome {
	var out mcp.Raw
	defer out.Free()
	if err := in.own(ctx, true, discoverBody, &out); err != nil {
		if errs.Of(err).Kind == errs.Timeout {
			return outcome{}
		}
		return outcome{err: err}
	}
	return outcome{peer: modernPeer(&out)}
}

func (in *instance) initialize(ctx context.Context) outcome {
	var out mcp.Raw
	defer out.Free()
	if err := in.own(ctx, false, initializeBody(in.info), &out); err != nil {
		return outcome{err: err}
	}
	p, err := in.s.legacyPeer(&out)
	if err != nil {
		return outcome{err: err}
	}
	if err := in.p.Write([][]byte{initializedBody}, writeTime); err != nil {
		return outcome{err: in.s.errorf(errs.Unavailable, "does not take notifications/initialized: %w", err)}
	}
	return outcome{peer: p}
}

func setLevelBody(level string) []byte {
	b := mcp.AppendString([]byte(`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":`), level)
	return append(b, "}}"...)
}

func idBytes(id int64) []byte { return strconv.AppendInt(make([]byte, 0, 20), id, 10) }

// oversizedID looks for the id of an answer of which only the first and last bytes were kept. It stands beside "jsonrpc" in
// what servers write, so a match elsewhere in the message is unlikely, and a wrong one fails a call with the right reason.
func oversizedID(head, tail []byte) (int64, bool) {
	if len(head) > 128 {
		head = head[:128]
	}
	if len(tail) > 128 {
		tail = tail[len(tail)-128:]
	}
	for _, part := range [][]byte{head, tail} {
		_, after, ok := bytes.Cut(part, []byte(`"id":`))
		if !ok {
			continue
		}
		rest := bytes.TrimLeft(after, " ")
		n := 0
		for n < len(rest) && rest[n] >= '0' && rest[n] <= '9' {
			n++
		}
		if id, err := strconv.ParseInt(string(rest[:n]), 10, 64); err == nil {
			return id, true
		}
	}
	return 0, false
}
