// Package redis is a cluster backend on Redis: one server, one behind Sentinels, or a Redis Cluster.
//
//	PUBLISH toolcrib:<database>:in:<replica>   the inbox of a replica; the answer tells whether it listens
//	PUBLISH toolcrib:<database>:all            broadcasts
//	HASH    toolcrib:fact:<key>                facts
//	STRING  toolcrib:lease:<name>              leases
//
// In a Redis Cluster the channels are sharded (SPUBLISH): a plain one reaches every node of it, and nobody learns whether
// the replica listens. A connection is made in the background and made anew as a whole when anything about it fails; until
// then everything fails at once with ErrDown.
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
)

const (
	// patience is how long a short command may take; bytesPerSecond is what longer ones may need in addition.
	patience       = time.Second
	bytesPerSecond = 8 << 20
	dialPatience   = 2 * time.Second
	// stallAfter is when a connection that does not move counts as broken. A message of the largest size passes within it.
	stallAfter = 3 * time.Second
	beatEvery  = time.Second
	// beatPatience is how long a heartbeat may take, which is longer than a command: a machine that is busy must not lose
	// what is under way.
	beatPatience = 2500 * time.Millisecond

	firstRetry, lastRetry = 50 * time.Millisecond, time.Second
	// settleTime is how long after a break the other replicas may take to listen again.
	settleTime = 3 * time.Second
	// askAgain is how long after nobody listened it is asked again, for a replica that was just connecting anew.
	askAgain = 200 * time.Millisecond

	complainEvery = time.Minute
	// refusedFor is for how long a refusal tells the state of Redis. Limits ask again every second.
	refusedFor = 5 * time.Second

	bufferSize = 64 << 10
	prefix     = "toolcrib:"
	notYet     = "not connected yet"
)

// errUntried: Redis is known to be away, so that nothing was sent.
var errUntried = fmt.Errorf("%w, %w", cluster.ErrDown, cluster.ErrUnsent)

// Options are what a Backend needs.
type Options struct {
	// Address is as in the configuration key cluster.
	Address v1.Secret
	Log     *slog.Logger
}

// Backend is Redis.
type Backend struct {
	log     *slog.Logger
	o       rueidis.ClientOption
	secrets *strings.Replacer // takes passwords out of what Redis or the library says
	all     string

	link   atomic.Pointer[link] // nil while away
	status atomic.Pointer[cluster.Status]
	broke  atomic.Int64    // when the last link broke, in Unix nanoseconds
	life   context.Context //nolint:containedctx // of all connections
	end    context.CancelFunc
	loops  sync.WaitGroup
	tried  chan struct{}
	first  sync.Once // closes tried
	joined atomic.Bool
	hidden atomic.Bool // no new link is made

	refused atomic.Pointer[refusal]

	mu     sync.Mutex
	silent map[string]time.Time // until when a kind of failure is not complained about again
}

// New makes a backend; the address must be a valid one. It connects when a replica joins.
func New(o Options) (*Backend, error) {
	a, err := v1.ParseClusterAddress(o.Address)
	if err != nil {
		return nil, fmt.Errorf("cluster: %w", err)
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	b := &Backend{
		log: o.Log, o: options(&a), secrets: strings.NewReplacer(), all: prefix + strconv.Itoa(a.Database) + ":all",
		tried: make(chan struct{}), silent: map[string]time.Time{},
	}
	if pairs := hidden(string(a.Password), string(a.SentinelPassword)); len(pairs) > 0 {
		b.secrets = strings.NewReplacer(pairs...)
	}
	b.life, b.end = context.WithCancel(context.Background())
	b.status.Store(&cluster.Status{Backend: b.Name(), Since: time.Now(), Reason: notYet})
	return b, nil
}

func hidden(secrets ...string) []string {
	var pairs []string
	for _, s := range secrets {
		if s != "" {
			pairs = append(pairs, s, "***")
		}
	}
	return pairs
}

func options(a *v1.ClusterAddress) rueidis.ClientOption {
	o := rueidis.ClientOption{
		InitAddress: a.Hosts, Username: a.User, Password: string(a.Password), SelectDB: a.Database, ClientName: "toolcrib",
		Dialer: net.Dialer{Timeout: dialPatience, KeepAlive: beatEvery}, ConnWriteTimeout: stallAfter,
		ReadBufferEachConn: bufferSize, WriteBufferEachConn: bufferSize,
		// What is retried may be late or twice; a lost connection is better made anew than waited for.
		DisableRetry: true, DisableCache: true,
	}
	if a.TLS {
		o.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if a.MasterSet != "" {
		o.Sentinel = rueidis.SentinelOption{
			MasterSet: a.MasterSet, Username: a.SentinelUser, Password: string(a.SentinelPassword),
			Dialer: o.Dialer, TLSConfig: o.TLSConfig, TopologyRefreshInterval: settleTime,
		}
	}
	return o
}

// Name is redis.
func (*Backend) Name() string { return "redis" }

// Alone is never known.
func (*Backend) Alone() bool { return false }

// refusal is what Redis said last to a command that it did not do.
type refusal struct {
	text string
	at   time.Time
}

// Status tells how Redis is reached, and what it refused a moment ago.
func (b *Backend) Status() cluster.Status {
	s := *b.status.Load()
	if r := b.refused.Load(); r != nil && s.Connected && time.Since(r.at) < refusedFor && r.at.After(s.Since) {
		s.Reason = r.text
	}
	return s
}

// Tried is closed when a connection was made for the first time, or could not be made.
func (b *Backend) Tried() <-chan struct{} { return b.tried }

func (b *Backend) endTry() { b.first.Do(func() { close(b.tried) }) }

// Close ends the connections.
func (b *Backend) Close() {
	b.end()
	b.loops.Wait()
}

// Join connects a replica and keeps it connected. A backend takes one.
func (b *Backend) Join(replica string, c cluster.Callbacks) (hide, leave func()) {
	if b.joined.Swap(true) {
		panic("cluster/redis: a second replica joins the backend of another")
	}
	ctx, cancel := context.WithCancel(b.life)
	inbox := b.inbox(replica)
	b.loops.Go(func() { b.keep(ctx, inbox, c) })
	hide = func() {
		b.hidden.Store(true)
		if l := b.link.Load(); l != nil {
			l.hide(inbox, b.all)
		}
	}
	return hide, func() {
		cancel()
		b.loops.Wait()
	}
}

func (b *Backend) inbox(replica string) string {
	return strings.TrimSuffix(b.all, "all") + "in:" + replica
}

// keep makes a link, and a new one whenever it has broken.
func (b *Backend) keep(ctx context.Context, inbox string, c cluster.Callbacks) {
	delay := firstRetry
	for ctx.Err() == nil && !b.hidden.Load() {
		up, err := b.connect(ctx, inbox, c)
		if ctx.Err() != nil {
			return
		}
		if delay = min(2*delay, lastRetry); up {
			delay = firstRetry
		}
		if !up {
			b.down(err)
		}
		select {
		case <-time.After(delay/2 + rand.N(delay/2)): //nolint:gosec // replicas need not come back at once, no more
		case <-ctx.Done():
		}
	}
}

// connect makes a link and waits for its end; up tells whether it was ever usable.
func (b *Backend) connect(ctx context.Context, inbox string, c cluster.Callbacks) (up bool, err error) {
	l, err := dial(ctx, b.o)
	if err != nil {
		return false, err
	}
	defer l.close()
	return l.run(ctx, subscription{inbox: inbox, all: b.all, deliver: c.Deliver, up: func() {
		b.link.Store(l)
		b.status.Store(&cluster.Status{Backend: b.Name(), Connected: true, Since: time.Now()})
		b.log.Info("cluster: connected", "backend", b.Name(), "mode", string(l.commands.Mode()))
		c.Connected(true)
		b.endTry()
	}, down: func(err error) {
		b.broke.Store(time.Now().UnixNano())
		b.link.Store(nil)
		if ctx.Err() == nil {
			b.down(err)
		}
		c.Connected(false)
	}})
}

// down notes why Redis is not reached. The log has it when that begins.
func (b *Backend) down(err error) {
	old, s := b.status.Load(), cluster.Status{Backend: b.Name(), Since: time.Now(), Reason: b.reason(err)}
	if !old.Connected && old.Reason != notYet {
		s.Since = old.Since
	} else {
		b.log.Warn("cluster: Redis is not reached; what takes several replicas fails until it is back", "reason", s.Reason)
	}
	b.status.Store(&s)
	b.endTry()
}

func (b *Backend) reason(err error) string {
	if err == nil {
		return "the connection ended"
	}
	return b.secrets.Replace(err.Error())
}

// do runs a command on the link, if there is one.
func (b *Backend) do(ctx context.Context, key string, size int, f func(context.Context, *link) error) error {
	l := b.link.Load()
	if l == nil {
		return errUntried
	}
	slot := l.slot(key)
	if l.avoids(slot) {
		return errUntried
	}
	inner, cancel := context.WithTimeout(ctx, patience+time.Duration(size)*time.Second/bytesPerSecond)
	defer cancel()
	err := f(inner, l)
	switch {
	case err == nil || errors.Is(err, cluster.ErrGone) || errors.Is(err, cluster.ErrHeld) || errors.Is(err, cluster.ErrFull):
		return err
	case errors.Is(ctx.Err(), context.Canceled):
		return context.Cause(ctx)
	case errors.Is(err, errSettling):
		return cluster.ErrDown
	}
	if !said(err) || demoted(err) || l.clustered() {
		l.suspect(slot)
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	b.complain(err)
	return cluster.ErrDown
}

// complain notes why a command failed. The log has each kind of failure only now and then.
func (b *Backend) complain(err error) {
	kind := ""
	if said(err) {
		kind, _, _ = strings.Cut(err.Error(), " ") // such as OOM
		b.refused.Store(&refusal{b.reason(err), time.Now()})
	}
	now := time.Now()
	b.mu.Lock()
	due := now.After(b.silent[kind])
	if due {
		b.silent[kind] = now.Add(complainEvery)
	}
	b.mu.Unlock()
	if due {
		b.log.Warn("cluster: a command failed", "reason", b.reason(err))
	}
}

// Send implements cluster.Backend.
func (b *Backend) Send(ctx context.Context, replica string, message []byte) error {
	channel := b.inbox(replica)
	return b.do(ctx, channel, len(message), func(ctx context.Context, l *link) error {
		for range 2 {
			n, err := l.publish(ctx, channel, message)
			if err != nil || n > 0 {
				return err
			}
			select {
			case <-time.After(askAgain):
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if time.Since(time.Unix(0, b.broke.Load())) < settleTime || l.settling(channel) {
			return errSettling
		}
		return cluster.ErrGone
	})
}

// Broadcast implements cluster.Backend.
func (b *Backend) Broadcast(ctx context.Context, message []byte) (int, error) {
	var n int64
	err := b.do(ctx, b.all, len(message), func(ctx context.Context, l *link) (err error) {
		n, err = l.publish(ctx, b.all, message)
		return err
	})
	return int(n), err
}
