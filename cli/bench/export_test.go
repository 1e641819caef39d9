package bench

import (
	"context"
	"net"
	"time"
)

// On has the callers reach their server over connections of a test, and the generator never short of processors.
func (o *Options) On(dial func(context.Context, string, string) (net.Conn, error)) {
	o.dial = dial
	o.queue = func() time.Duration { return 0 }
}

// Hinder has f called before each request of an open loop.
func (o *Options) Hinder(f func()) { o.busy = f }

// Spread is the order in which the kinds of a mix come.
func (m Mix) Spread() []Op { return m.spread() }

// CallersMost is how many requests of an open loop may be in flight.
const CallersMost = callersMost
