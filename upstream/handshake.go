package upstream

import (
	"bytes"
	"context"
	"regexp"
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
		if o.err == nil || errs.Of(o.err).Kind != errs.Protocol {
			return o.peer, o.err
		}
		select { // that is how a modern server refuses what it does not know
		case late := <-discover.out:
			if late.peer != nil {
				return late.peer, nil
			}
		case <-time.After(probeTime):
		}
		return nil, o.err
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
	if err := in.own(ctx, false, initializeBody(in.info, in.can), &out); err != nil {
		return outcome{err: err}
	}
	p, err := in.s.legacyPeer(&out)
	if err != nil {
		return outcome{err: err}
	}
	if err := in.p.Write(ctx, [][]byte{initializedBody}, in.whose(), writeTime); err != nil {
		return outcome{err: in.s.errorf(errs.Unavailable, "does not take notifications/initialized: %w", err)}
	}
	return outcome{peer: p}
}

func setLevelBody(level string) []byte {
	b := mcp.AppendString([]byte(`{"jsonrpc":"2.0","id":1,"method":"logging/setLevel","params":{"level":`), level)
	return append(b, "}}"...)
}

func idBytes(id int64) []byte { return strconv.AppendInt(make([]byte, 0, 20), id, 10) }

// oversized is what an oversized line shows itself to be.
type oversized uint8

const (
	oversizedUnknown oversized = iota
	oversizedAnswer
	oversizedNotice
)

// oversizedID finds the id of an answer of which only the first and last bytes were kept. It is taken only where no result
// can hold it: before the second brace, or as the last member. A message with a method answers nothing.
func oversizedID(head, tail []byte) (int64, oversized) {
	head = bytes.TrimPrefix(head, []byte("{"))
	if i := bytes.IndexAny(head, "{["); i >= 0 {
		head = head[:i]
	}
	if bytes.Contains(head, []byte(`"method"`)) {
		return 0, oversizedNotice
	}
	for _, found := range [][][]byte{idInHead.FindSubmatch(head), idInTail.FindSubmatch(tail)} {
		if found == nil {
			continue
		}
		if id, err := strconv.ParseInt(string(found[1]), 10, 64); err == nil {
			return id, oversizedAnswer
		}
	}
	return 0, oversizedUnknown
}

var (
	idInHead = regexp.MustCompile(`"id"\s*:\s*(\d{1,18})\s*[,}]`)
	idInTail = regexp.MustCompile(`[}\]"\deln]\s*,\s*"id"\s*:\s*(\d{1,18})\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$`)
)
