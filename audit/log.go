package audit

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// Options are what a Log needs besides the configuration.
type Options struct {
	Log *slog.Logger
	// Version is that of the program, Replica names this one among others; both are in each record.
	Version, Replica string
	// Service is what collectors know the program by, "toolcrib" where that is empty; Resource is what they are told of it besides.
	Service  string
	Resource map[string]string
	// Stdout is where the sink stdout writes to.
	Stdout io.Writer
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// Roots are whom sinks must be certified by to be believed; nil are the system's.
	Roots *x509.CertPool

	id string // of the log, for sinks
}

// tls is how sinks are spoken to; an empty name is that of the address.
func (o *Options) tls(name string) *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: o.Roots, ServerName: name}
}

// Log takes records. A nil Log takes none.
type Log struct {
	o        Options
	stateDir string
	rules    atomic.Pointer[rules] // what callers see of the configuration
	made     atomic.Pointer[rules] // the last of them that were on
	config   atomic.Pointer[v1.Audit]
	signer   atomic.Pointer[signer]

	mu          sync.Mutex // Configure and Close
	j           *journal   // nil until the first configuration with sinks
	lock        *os.File
	asked, path string // the file of the first configuration, and that which is written
	only        string // the one file that may be written; empty for the first that is free
	id          string // names the log
	fresh       bool   // it begins now
	from        atomic.Uint64
	closed      bool

	follow atomic.Pointer[[]*runner]
	relief gate
	finish chan struct{}   // closed when no more is written
	life   context.Context //nolint:containedctx // of the followers
	end    context.CancelFunc
	tasks  sync.WaitGroup // the followers

	keeper      keeper
	stopTending context.CancelFunc
	tended      chan struct{}
	fault       fault
}

// Open opens the log that c asks for, if any, and continues it. What is found to be damaged is put aside and told in a record.
func Open(c *v1.Config, o Options) (*Log, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	l := newLog(c.StateDir, o)
	if err := l.Configure(c); err != nil {
		_ = l.Close(l.life)
		l.end()
		return nil, err
	}
	return l, nil
}

func newLog(stateDir string, o Options) *Log {
	l := &Log{o: o, stateDir: stateDir, finish: make(chan struct{}), tended: make(chan struct{})}
	l.life, l.end = context.WithCancel(context.Background())
	l.keeper.wake = make(chan struct{}, 1)
	l.follow.Store(&[]*runner{})
	l.rules.Store(&rules{})
	return l
}

// sinksOf are the sinks of a configuration; those that go without saying too.
func sinksOf(c *v1.Config) []v1.AuditSink {
	if c.Audit.Sinks == nil && c.Auth.Configured() {
		return []v1.AuditSink{defaultSink()}
	}
	return c.Audit.Sinks
}

var defaultFile = filepath.Join("audit", "audit.jsonl")

// defaultSink is the file that is written when none is named.
func defaultSink() v1.AuditSink {
	return v1.AuditSink{File: defaultFile, Rotate: 100 << 20, Lag: 64 << 20, Timeout: v1.Duration(10 * time.Second)}
}

// spoolRotate and spoolKeep bound the file that nobody asked for: it is there for the sinks that were.
const (
	spoolRotate = 16 << 20
	spoolKeep   = 1
)

// primaryOf is the sink that is written first.
func primaryOf(sinks []v1.AuditSink) v1.AuditSink {
	for _, s := range sinks {
		if s.File != "" {
			return s
		}
	}
	one := defaultSink()
	if len(sinks) > 0 {
		one.Rotate, one.Keep = spoolRotate, spoolKeep
	}
	return one
}

// PathOf is where the log of a configuration is; empty when it has none. A process that shares the state directory with others
// may have one of the names beside it.
func PathOf(c *v1.Config) string {
	sinks := sinksOf(c)
	if len(sinks) == 0 {
		return ""
	}
	return pathOf(primaryOf(sinks).File, c.StateDir)
}

// DefaultPath is where the log is that no sink names.
func DefaultPath(stateDir string) string { return pathOf(defaultFile, stateDir) }

func pathOf(file, stateDir string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(stateDir, file)
}

// Configure has the log go by another configuration. On an error it goes by the old one. Another file, and another state
// directory, take a restart.
func (l *Log) Configure(c *v1.Config) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	sinks := sinksOf(c)
	if len(sinks) == 0 {
		if l.On() {
			l.note("disable", "nothing is recorded from here on: the configuration has no sinks")
		}
		l.rules.Store(&rules{})
		return l.settle(nil)
	}
	signer, err := loadSigner(c, l.stateDir)
	if err != nil {
		return err
	}
	primary, now := primaryOf(sinks), newRules(c, &l.o, signer)
	began := l.j == nil
	if began {
		l.configured(c, primary, signer)
		if err := l.begin(pathOf(primary.File, l.stateDir), primary, now); err != nil {
			return fmt.Errorf("audit log: %w", err)
		}
	} else if l.asked != pathOf(primary.File, l.stateDir) {
		l.o.Log.Warn("changed, but takes effect only after a restart", "key", "audit.sinks: file")
	}
	if err := l.settle(sinks); err != nil {
		return err
	}
	l.fresh = false
	was, old := l.On(), l.config.Load()
	l.configured(c, primary, signer)
	l.made.Store(now)
	l.rules.Store(now)
	switch {
	case !began:
		l.announce(was, old, &c.Audit)
	case l.only == "":
		l.adopt(c, sinks)
	}
	return nil
}

func (l *Log) configured(c *v1.Config, primary v1.AuditSink, s *signer) {
	l.signer.Store(s)
	l.config.Store(&c.Audit)
	l.keeper.keep.Store(int64(primary.Keep))
	if l.j != nil {
		l.j.rotate.Store(int64(primary.Rotate))
	}
}

// announce records that records are made otherwise from here on.
func (l *Log) announce(on bool, was, is *v1.Audit) {
	switch {
	case !on:
		l.note("enable", "")
	case !reflect.DeepEqual(was, is):
		l.note("configure", "what is recorded, or where to, was changed")
	}
}

// begin opens the log and has it kept.
func (l *Log) begin(path string, primary v1.AuditSink, s *rules) error {
	if err := l.open(path, int64(primary.Rotate), s); err != nil {
		return err
	}
	l.asked = path
	ctx, stop := context.WithCancel(context.Background())
	l.stopTending = stop
	go func() {
		defer close(l.tended)
		l.tend(ctx)
	}()
	return nil
}

// On tells whether anything is recorded, so that records need not be made up for nothing.
func (l *Log) On() bool { return l != nil && l.rules.Load().on }

// Write returns once the record is with the operating system. An error is of the kind Overloaded: what the record tells must not be
// answered then.
func (l *Log) Write(r *Record) error {
	if l == nil {
		return nil
	}
	s := l.rules.Load()
	if !s.on || !s.wants(r) {
		return nil
	}
	e := entries.Get().(*entry)
	e.body = s.encode(e.body[:0], r)
	if err := l.j.write(e); err != nil {
		return l.owe(e, err)
	}
	e.free()
	return nil
}

// The values of Audit.Records.
const (
	recordsCalls  = "calls"
	recordsDenied = "denied"
)

// StreamEnd is the operation of a stream that is ended because its caller may not have it any more, or has other rights.
const StreamEnd = "stream/end"

// wants tells whether a record is to be written.
func (s *rules) wants(r *Record) bool {
	if r.Kind == Management || r.Kind == Lifecycle {
		return true
	}
	switch s.records {
	case recordsDenied:
		return r.refused() || r.Operation == StreamEnd
	case recordsCalls:
		return r.refused() || !aside(r.Operation)
	}
	return true
}

// aside are the operations that are no calls.
func aside(operation string) bool {
	switch operation {
	case "tools/list", "prompts/list", "resources/list", "resources/templates/list", "server/discover", "initialize", "ping":
		return true
	}
	return false
}

// note records what concerns the log itself.
func (l *Log) note(operation, detail string, facts ...Fact) {
	e := newEntry()
	e.body = l.made.Load().encode(nil, &Record{
		Kind: Lifecycle, Time: l.o.Now(), Operation: operation, Outcome: "ok", Detail: detail, Facts: facts,
	})
	if err := l.j.write(e); err != nil {
		l.o.Log.Error("audit log", "error", err, "record", operation)
	}
}

// fact is a text as a fact.
func fact(name, text string) Fact { return Fact{name, string(mcp.AppendString(nil, text))} }

func number(name string, n uint64) Fact { return Fact{name, strconv.FormatUint(n, 10)} }

// refuse is the error for a call that cannot be recorded.
func refuse(format string, args ...any) error {
	e := errs.E("audit", errs.Overloaded, format, args...)
	e.RetryAfter = time.Second
	return e
}
