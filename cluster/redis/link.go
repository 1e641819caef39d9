package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/redis/rueidis"
)

var (
	errSettling  = errors.New("the replicas are connecting anew")
	errUnheard   = errors.New("the subscription ended")
	errHeartbeat = errors.New("does not answer")
)

// link is one connection to Redis, from its making until anything about it fails: clients for commands and, apart from
// them so that neither waits behind the other, for what comes in.
type link struct {
	commands, subscriptions rueidis.Client

	cancel  context.CancelFunc
	closing sync.Once
	heard   chan struct{} // a heartbeat came back
	doubt   chan struct{} // asks for a heartbeat now
	doubted atomic.Bool   // a command had no answer, and no heartbeat came back since

	hidden  atomic.Bool   // nothing is listened to any more
	listens atomic.Int64  // how many subscriptions there are
	deaf    chan struct{} // closed when there are none any more

	mu    sync.Mutex
	wrong map[uint16]time.Time // slots of a Redis Cluster, and when a command failed there
}

// dial returns when both clients have connected once. The end of ctx ends their connections, also half-made ones.
func dial(ctx context.Context, o rueidis.ClientOption) (*link, error) {
	ctx, cancel := context.WithCancel(ctx)
	o.DialCtxFn = dialing(ctx)
	commands, err := client(&o)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("connect: %w", err)
	}
	o.PipelineMultiplex = -1 // one connection
	subscriptions, err := rueidis.NewClient(o)
	if err != nil {
		cancel()
		commands.Close()
		return nil, fmt.Errorf("connect: %w", err)
	}
	return &link{
		commands: commands, subscriptions: subscriptions, cancel: cancel,
		heard: make(chan struct{}, 1), doubt: make(chan struct{}, 1), deaf: make(chan struct{}), wrong: map[uint16]time.Time{},
	}, nil
}

// dialing makes connections that end with ctx, also half-made ones.
func dialing(ctx context.Context) func(context.Context, string, *net.Dialer, *tls.Config) (net.Conn, error) {
	return func(attempt context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
		attempt, done := context.WithCancel(attempt)
		defer done()
		defer context.AfterFunc(ctx, done)()
		return connect(attempt, ctx, address, d, t)
	}
}

// client makes the client for commands. A single host may be a node of a Redis Cluster, which it tells itself: the library
// would find out too, but leaves a client behind that goes on looking for a cluster.
func client(o *rueidis.ClientOption) (rueidis.Client, error) {
	if len(o.InitAddress) > 1 || o.Sentinel.MasterSet != "" {
		return rueidis.NewClient(*o)
	}
	o.ForceSingleClient = true
	c, err := rueidis.NewClient(*o)
	if err != nil {
		return nil, err
	}
	asked, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	info, err := c.Do(asked, c.B().Info().Section("cluster").Build()).ToString()
	if err != nil || !strings.Contains(info, "cluster_enabled:1") {
		return c, nil // also when it does not say
	}
	c.Close()
	o.ForceSingleClient = false
	return rueidis.NewClient(*o)
}

// tied is a connection that ends with a context.
type tied struct {
	net.Conn

	free func() bool
}

func (c tied) Close() error {
	c.free()
	return c.Conn.Close()
}

func connect(attempt, life context.Context, address string, d *net.Dialer, t *tls.Config) (net.Conn, error) {
	var c net.Conn
	var err error
	if t == nil {
		c, err = d.DialContext(attempt, "tcp", address)
	} else {
		c, err = (&tls.Dialer{NetDialer: d, Config: t}).DialContext(attempt, "tcp", address)
	}
	if err != nil {
		return nil, err
	}
	return tied{c, context.AfterFunc(life, func() { c.Close() })}, nil
}

func (l *link) close() {
	l.closing.Do(func() {
		l.cancel()
		l.commands.Close()
		l.subscriptions.Close()
	})
}

func (l *link) clustered() bool { return l.commands.Mode() == rueidis.ClientModeCluster }

// subscription is what a link is for.
type subscription struct {
	inbox, all string
	deliver    func(broadcast bool, message []byte)
	up         func()
	down       func(error)
}

// run listens until ctx ends or the link fails. It returns when nothing is delivered any more.
func (l *link) run(ctx context.Context, s subscription) (up bool, err error) {
	inner, cancel := context.WithCancelCause(ctx)
	var listening sync.WaitGroup
	defer listening.Wait()
	defer l.close() // ends what a cancelled context does not
	defer cancel(nil)

	opened, deliver := make(chan struct{}), s.deliver
	s.deliver = func(broadcast bool, message []byte) {
		select {
		case <-opened: // before, what is delivered could not be answered
			deliver(broadcast, message)
		case <-inner.Done():
		}
	}
	const channels = 2
	ready := make(chan struct{}, channels)
	listen := func(ctx context.Context, channels ...string) {
		listening.Go(func() {
			err := l.listen(ctx, &s, channels)
			if !l.hidden.Load() {
				cancel(err)
			}
			if l.listens.Add(-1) == 0 {
				close(l.deaf)
			}
		})
	}
	hooked := rueidis.WithOnSubscriptionHook(inner, func(c rueidis.PubSubSubscription) {
		if c.Kind == "subscribe" || c.Kind == "ssubscribe" {
			select {
			case ready <- struct{}{}:
			default:
			}
			return
		}
		if !l.hidden.Load() {
			cancel(errUnheard)
		}
	})
	if l.clustered() {
		l.listens.Store(2) // before the first may end
		listen(hooked, s.inbox)
		listen(hooked, s.all)
	} else {
		l.listens.Store(1)
		listen(hooked, s.inbox, s.all)
	}
	late := time.NewTimer(dialPatience)
	defer late.Stop()
	for range channels {
		select {
		case <-ready:
		case <-inner.Done():
			return false, context.Cause(inner)
		case <-late.C:
			return false, fmt.Errorf("subscribe: %w", errHeartbeat)
		}
	}
	if !l.clustered() {
		once, cancel := context.WithTimeout(inner, patience)
		err = unserved(l.commands.Do(once, l.idle()).Error())
		cancel()
		if err != nil {
			return false, fmt.Errorf("connect: %w", err)
		}
	}
	s.up()
	close(opened)
	err = l.beat(inner, s.inbox)
	s.down(err)
	return true, err
}

func (l *link) listen(ctx context.Context, s *subscription, channels []string) error {
	b := l.subscriptions.B()
	subscribe := b.Subscribe().Channel(channels...).Build()
	if l.clustered() {
		subscribe = b.Ssubscribe().Channel(channels...).Build()
	}
	err := l.subscriptions.Receive(ctx, subscribe, func(m rueidis.PubSubMessage) {
		if m.Message != "" { // else a heartbeat
			s.deliver(m.Channel == s.all, []byte(m.Message))
			return
		}
		signal(l.heard)
	})
	if err == nil {
		return errUnheard
	}
	return err
}

// hide ends the subscriptions and waits until what came before is delivered. Commands are served on.
func (l *link) hide(inbox, all string) {
	l.hidden.Store(true)
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	b := l.subscriptions.B()
	commands := []rueidis.Completed{b.Unsubscribe().Channel(inbox, all).Build()}
	if l.clustered() {
		commands = []rueidis.Completed{b.Sunsubscribe().Channel(inbox).Build(), b.Sunsubscribe().Channel(all).Build()}
	}
	for _, c := range commands {
		if l.subscriptions.Do(ctx, c).Error() != nil {
			return // leaving ends them too
		}
	}
	select {
	case <-l.deaf:
	case <-ctx.Done():
	}
}

// beat sends an empty message into the own inbox again and again, which must arrive: that shows that commands are served,
// and that what others send is heard. One Redis must also take writes.
func (l *link) beat(ctx context.Context, inbox string) error {
	tick := time.NewTicker(beatEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-l.doubt:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if err := l.beatOnce(ctx, inbox); err != nil {
			return err
		}
	}
}

func (l *link) beatOnce(ctx context.Context, inbox string) error {
	select {
	case <-l.heard: // of an earlier one
	default:
	}
	once, cancel := context.WithTimeout(ctx, beatPatience)
	defer cancel()
	commands := []rueidis.Completed{l.publishing(inbox, nil)}
	if !l.clustered() {
		commands = append(commands, l.idle())
	}
	answers := l.commands.DoMulti(once, commands...)
	n, err := answers[0].AsInt64()
	if l.hidden.Load() {
		return nil
	}
	if err == nil && n == 0 {
		err = errUnheard
	}
	if err == nil {
		err = unserved(answers[len(answers)-1].Error())
	}
	if err == nil {
		select {
		case <-l.heard:
			l.doubted.Store(false)
			return nil
		case <-l.deaf:
			return nil
		case <-once.Done():
			err = once.Err()
		}
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return fmt.Errorf("heartbeat: %w", err)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (l *link) publish(ctx context.Context, channel string, message []byte) (int64, error) {
	return l.commands.Do(ctx, l.publishing(channel, message)).AsInt64()
}

func (l *link) publishing(channel string, message []byte) rueidis.Completed {
	b := l.commands.B()
	if l.clustered() {
		return b.Spublish().Channel(channel).Message(rueidis.BinaryString(message)).Build()
	}
	return b.Publish().Channel(channel).Message(rueidis.BinaryString(message)).Build()
}

// idle is a command that changes nothing, but is refused where nothing may be written: a server that was a master and is a
// replica now leaves its connections open, and still takes what is published.
func (l *link) idle() rueidis.Completed {
	return l.commands.B().Hdel().Key(prefix + "none").Field("none").Build()
}

func said(err error) bool {
	_, ok := rueidis.IsRedisErr(err)
	return ok
}

// demoted tells whether Redis said that it is not, or not yet, one that can be used, where a new connection may find another.
func demoted(err error) bool {
	if !said(err) {
		return false
	}
	kind, _, _ := strings.Cut(err.Error(), " ")
	return kind == "READONLY" || kind == "LOADING" || kind == "MASTERDOWN"
}

// unserved is what keeps a link from being used: no answer, or one that demoted knows. Else Redis may say what it likes.
func unserved(err error) error {
	if said(err) && !demoted(err) {
		return nil
	}
	return err
}

// slot is where a Redis Cluster has a key; 0 elsewhere.
func (l *link) slot(key string) uint16 {
	if !l.clustered() {
		return 0
	}
	c := l.commands.B().Get().Key(key).Build()
	return c.Slot()
}

// avoids tells whether a command failed so recently that another need not wait too.
func (l *link) avoids(slot uint16) bool {
	return l.doubted.Load() || l.clustered() && l.failed(slot, patience)
}

// settling tells whether the replica behind a channel may have lost its node of the Redis Cluster, and not listen again yet.
func (l *link) settling(channel string) bool {
	return l.clustered() && l.failed(l.slot(channel), 2*settleTime)
}

func (l *link) failed(slot uint16, within time.Duration) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Since(l.wrong[slot]) < within
}

// suspect notes that a command had no answer: a part of a Redis Cluster is left alone for a moment, one Redis until it
// answers a heartbeat.
func (l *link) suspect(slot uint16) {
	if !l.clustered() {
		l.doubted.Store(true)
		signal(l.doubt)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.wrong[slot] = time.Now() // at most as many as there are slots
}
