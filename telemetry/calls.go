package telemetry

import (
	"context"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// callsComponent is that of the lines of calls.
const callsComponent = "calls"

// Call is what the log says of a request. What is empty is left out.
type Call struct {
	Method, Server, Tool, Prompt string
	Principal, Tenant, Trace     string
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
}

// CallLog writes a line for each call. A nil CallLog writes none.
type CallLog struct {
	log   *Log
	inner slog.Handler // nil: lines are JSON
	level *level
	lines sync.Pool
}

// Calls is the log of calls. There are many: a line costs less than others.
func (l *Log) Calls() *CallLog {
	c := &CallLog{log: l, level: l.levels[callsComponent]}
	if _, ok := l.handler.(*slog.JSONHandler); !ok {
		c.inner = l.handler
	}
	c.lines.New = func() any { return new([]byte) }
	return c
}

// Enabled says whether calls are logged at a level now.
func (l *CallLog) Enabled(level slog.Level) bool {
	return l != nil && level >= l.level.at(time.Now)
}

// Tell logs a call.
func (l *CallLog) Tell(level slog.Level, c *Call) {
	if l.inner != nil {
		r := slog.NewRecord(time.Now(), level, "call", 0)
		c.each(func(a slog.Attr) { r.AddAttrs(a) })
		_ = l.inner.Handle(context.Background(), r) // as loggers do
		l.log.out.soon()
	} else {
		line := l.lines.Get().(*[]byte) //nolint:forcetypeassert // there are no others
		*line = c.appendJSON((*line)[:0], time.Now(), level)
		l.log.out.gather(*line)
		if cap(*line) <= gatherMost {
			l.lines.Put(line)
		}
	}
}

// fields has what there is to say taken, in order.
func (c *Call) fields(text func(key, value string), number func(key string, n int), took func(key string, d time.Duration)) {
	some := func(key, value string) {
		if value != "" {
			text(key, value)
		}
	}
	text("method", c.Method)
	some("server", c.Server)
	some("tool", c.Tool)
	some("prompt", c.Prompt)
	some("principal", c.Principal)
	some("tenant", c.Tenant)
	some("trace", c.Trace)
	text("outcome", c.Outcome)
	number("bytesIn", c.In)
	number("bytesOut", c.Out)
	took("took", c.Took)
	some("cache", c.Cache)
	if c.Asked {
		took("queue", c.Queue)
		took("start", c.Start)
		took("atServer", c.AtServer)
		took("transport", c.Transport)
	}
	some("arguments", c.Arguments)
	some("result", c.Result)
	text(componentKey, callsComponent)
}

func (c *Call) each(take func(slog.Attr)) {
	c.fields(
		func(key, value string) { take(slog.String(key, value)) },
		func(key string, n int) { take(slog.Int(key, n)) },
		func(key string, d time.Duration) { take(slog.Duration(key, d)) },
	)
}

// appendJSON appends the line that slog would write, at less cost.
func (c *Call) appendJSON(line []byte, now time.Time, level slog.Level) []byte {
	line = append(line, `{"time":"`...)
	line = now.AppendFormat(line, time.RFC3339Nano)
	line = append(line, `","level":"`...)
	line = append(line, level.String()...)
	line = append(line, `","msg":"call"`...)
	named := func(key string) {
		line = append(line, ',', '"')
		line = append(line, key...)
		line = append(line, '"', ':')
	}
	c.fields(
		func(key, value string) {
			named(key)
			line = mcp.AppendString(line, value)
		},
		func(key string, n int) {
			named(key)
			line = strconv.AppendInt(line, int64(n), 10)
		},
		func(key string, d time.Duration) {
			named(key)
			line = appendSeconds(line, d)
		},
	)
	return append(line, '}', '\n')
}

// appendSeconds appends a duration as a number of seconds.
func appendSeconds(dst []byte, d time.Duration) []byte {
	if d < 0 {
		d = 0 // a clock that went back
	}
	dst = strconv.AppendInt(dst, int64(d/time.Second), 10)
	rest := int64(d % time.Second)
	if rest == 0 {
		return dst
	}
	var digits [10]byte
	digits[0] = '.'
	for i := 9; i > 0; i-- {
		digits[i] = byte('0' + rest%10)
		rest /= 10
	}
	n := len(digits)
	for digits[n-1] == '0' {
		n--
	}
	return append(dst, digits[:n]...)
}
