package telemetry

import (
	"context"
	"encoding/hex"
	"log/slog"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/mcp"
)

// callsComponent is that of the lines of calls.
const callsComponent = "calls"

// Call is what the log says of a request. What is empty is left out.
type Call struct {
	// At is when it was over.
	At time.Time

	Method, Server, Tool, Prompt string
	Principal, Tenant            string
	Trace                        trace.ID
	Outcome                      string

	// In and Out are the sizes of the request and of the answer, in bytes, and Took is the time between them.
	In, Out int
	Took    time.Duration
	// Cache says what came of looking for a kept answer.
	Cache string
	// Asked says that the server was asked, and the others where the time went then.
	Asked                             bool
	Queue, Start, AtServer, Transport time.Duration
	// Arguments and Result are shown where a rule has it so.
	Arguments, Result string

	level slog.Level // of its line, while that is not made
}

// CallLog writes a line for each call. A nil CallLog writes none.
type CallLog struct {
	out   *gatherer
	text  slog.Handler // nil: lines are JSON
	level *level
}

// Calls is the log of calls. There are many: a line costs less than others.
func (l *Log) Calls() *CallLog {
	c := &CallLog{out: l.out, level: l.levels[callsComponent]}
	if _, ok := l.handler.(*slog.JSONHandler); !ok {
		c.text = l.handler
	}
	return c
}

// Enabled says whether calls are logged at a level now.
func (l *CallLog) Enabled(level slog.Level) bool {
	return l != nil && level >= l.level.at(time.Now)
}

// Tell logs a call.
func (l *CallLog) Tell(level slog.Level, c *Call) {
	if l.text == nil {
		l.out.gather(level, c)
		return
	}
	_ = l.text.Handle(context.Background(), c.record(level)) // as loggers do
	l.out.soon()
}

// record is the call as loggers have it.
func (c *Call) record(level slog.Level) slog.Record {
	r := slog.NewRecord(c.At, level, "call", 0)
	some := func(key, value string) {
		if value != "" {
			r.AddAttrs(slog.String(key, value))
		}
	}
	r.AddAttrs(slog.String("method", c.Method))
	some("server", c.Server)
	some("tool", c.Tool)
	some("prompt", c.Prompt)
	some("principal", c.Principal)
	some("tenant", c.Tenant)
	some("trace", c.Trace.String())
	r.AddAttrs(slog.String("outcome", c.Outcome), slog.Int("bytesIn", c.In), slog.Int("bytesOut", c.Out), slog.Duration("took", c.Took))
	some("cache", c.Cache)
	if c.Asked {
		r.AddAttrs(slog.Duration("queue", c.Queue), slog.Duration("start", c.Start),
			slog.Duration("atServer", c.AtServer), slog.Duration("transport", c.Transport))
	}
	some("arguments", c.Arguments)
	some("result", c.Result)
	r.AddAttrs(slog.String(componentKey, callsComponent))
	return r
}

// callLines makes lines of calls.
type callLines struct{ last atomic.Pointer[moment] }

// appendJSON appends the line that slog would write of that record, at less cost.
func (l *callLines) appendJSON(line []byte, c *Call) []byte {
	line = l.appendTime(line, c.At)
	line = append(line, `"level":"`...)
	line = append(line, c.level.String()...)
	line = appendValue(line, `","msg":"call","method":`, c.Method)
	line = appendSome(line, `,"server":`, c.Server)
	line = appendSome(line, `,"tool":`, c.Tool)
	line = appendSome(line, `,"prompt":`, c.Prompt)
	line = appendSome(line, `,"principal":`, c.Principal)
	line = appendSome(line, `,"tenant":`, c.Tenant)
	if c.Trace != (trace.ID{}) {
		line = append(line, `,"trace":"`...)
		line = append(hex.AppendEncode(line, c.Trace[:]), '"')
	}
	line = appendValue(line, `,"outcome":`, c.Outcome)
	line = append(line, `,"bytesIn":`...)
	line = strconv.AppendInt(line, int64(c.In), 10)
	line = append(line, `,"bytesOut":`...)
	line = strconv.AppendInt(line, int64(c.Out), 10)
	line = appendSeconds(line, `,"took":`, c.Took)
	line = appendSome(line, `,"cache":`, c.Cache)
	if c.Asked {
		line = appendSeconds(line, `,"queue":`, c.Queue)
		line = appendSeconds(line, `,"start":`, c.Start)
		line = appendSeconds(line, `,"atServer":`, c.AtServer)
		line = appendSeconds(line, `,"transport":`, c.Transport)
	}
	line = appendSome(line, `,"arguments":`, c.Arguments)
	line = appendSome(line, `,"result":`, c.Result)
	return append(line, `,"component":"`+callsComponent+`"}`+"\n"...)
}

func appendValue(line []byte, key, value string) []byte {
	return mcp.AppendString(append(line, key...), value)
}

func appendSome(line []byte, key, value string) []byte {
	if value == "" {
		return line
	}
	return appendValue(line, key, value)
}

// moment is a second as lines have it, in the one zone that a program has.
type moment struct {
	unix       int64
	head, tail string // around the fraction
}

// appendTime appends the beginning of a line. Most lines are of the same second as the one before.
func (l *callLines) appendTime(line []byte, at time.Time) []byte {
	m := l.last.Load()
	if unix := at.Unix(); m == nil || m.unix != unix {
		m = &moment{unix: unix, head: at.Format(`{"time":"2006-01-02T15:04:05`), tail: at.Format(`Z07:00",`)}
		l.last.Store(m)
	}
	line = append(line, m.head...)
	if nanos := at.Nanosecond(); nanos > 0 {
		line = appendFraction(line, nanos)
	}
	return append(line, m.tail...)
}

// appendSeconds appends a key and a duration as a number of seconds.
func appendSeconds(line []byte, key string, d time.Duration) []byte {
	d = max(d, 0) // a clock that went back
	line = strconv.AppendInt(append(line, key...), int64(d/time.Second), 10)
	if rest := int(d % time.Second); rest > 0 {
		return appendFraction(line, rest)
	}
	return line
}

// appendFraction appends a fraction of a second, in nanoseconds, without the zeros at its end.
func appendFraction(line []byte, nanos int) []byte {
	const width = 9
	n := width
	for ; nanos%10 == 0; n-- {
		nanos /= 10
	}
	line = append(line, ".000000000"[:1+n]...)
	for i := len(line) - 1; nanos > 0; i-- {
		line[i] = byte('0' + nanos%10)
		nanos /= 10
	}
	return line
}
