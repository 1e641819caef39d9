package limit

import (
	"hash/maphash"
	"log/slog"
	"slices"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
)

// Options are what a Limiter needs.
type Options struct {
	// Node is this replica among the others, which limits are shared with. It may be nil.
	Node *cluster.Node
	// File keeps between starts what is used of quotas, for a replica that is alone, and for others how many there are; empty for
	// none.
	File string
	Log  *slog.Logger
	// Refused is told of each request that a limit refused; kind is what was used up: rate, bytes, quota or concurrency. It may be nil.
	Refused func(limit, kind string)
}

// Limiter holds what is left of all limits, for as long as the process runs.
type Limiter struct {
	// share is nil where this replica is alone.
	share *share
	base  time.Time
	o     Options

	mu     sync.Mutex
	tables map[tableKey]*table
	rules  *Rules // of the present plan
	end    chan struct{}
	loops  sync.WaitGroup
	closed bool

	kept    map[tableKey][]keptCell // that no limit has asked for yet
	saved   total
	unsaved bool
}

// tableKey is what makes a limit the same one as before.
type tableKey struct{ name, per string }

// sweepEvery is how often what is not used is forgotten.
const sweepEvery = time.Minute

// New makes a limiter without limits.
func New(o Options) *Limiter {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Limiter{o: o, base: time.Now(), kept: map[tableKey][]keptCell{}, tables: map[tableKey]*table{}, rules: &Rules{}, end: make(chan struct{})}
	l.share = newShare(o.Node, l.base)
	if o.File != "" {
		l.load()
	}
	switch {
	case l.share != nil:
		if o.File != "" {
			l.share.counted = func(replicas int64) { l.write(kept{Replicas: replicas}) }
		}
		l.loops.Go(func() { l.share.run(l.end) })
	case o.File != "":
		l.loops.Go(l.keep)
	}
	l.loops.Go(l.sweep)
	return l
}

// Close saves what is used of quotas, gives back what this replica has of limits that are shared, and ends what runs in the background.
func (l *Limiter) Close() {
	l.mu.Lock()
	first := !l.closed
	l.closed = true
	l.mu.Unlock()
	if first {
		close(l.end)
	}
	l.loops.Wait()
}

// keep saves what is used of quotas, soon after it was.
func (l *Limiter) keep() {
	timer := time.NewTimer(saveEvery)
	defer timer.Stop()
	defer l.save()
	for {
		select {
		case <-l.end:
			return
		case <-timer.C:
			began := time.Now()
			l.save()
			timer.Reset(savePause(time.Since(began)))
		}
	}
}

// sweep forgets now and then what is not used.
func (l *Limiter) sweep() {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-l.end:
			return
		case <-tick.C:
		}
		t := l.moment(time.Now())
		for r := range l.Rules().all {
			r.sweepAll(t)
		}
	}
}

func (l *Limiter) moment(t time.Time) moment { return moment{int64(t.Sub(l.base)), t.UTC()} }

// Rules are those of the present plan.
func (l *Limiter) Rules() *Rules {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rules
}

// Configure makes the rules of a configuration, which was validated, the present ones. What limits have kept that were there
// before they go on with; requests that are under way go on by the rules that they began with.
func (l *Limiter) Configure(c *v1.Config) *Rules {
	l.mu.Lock()
	defer l.mu.Unlock()
	next := &Rules{limiter: l, seed: maphash.MakeSeed(), config: c, servers: c.MCPServers}
	tables := map[tableKey]*table{}
	for i := range c.Limits {
		r := &rule{Limit: &c.Limits[i], name: c.Limits[i].DisplayName(), phase: phaseOf(&c.Limits[i])}
		r.per = dimensionsOf(r.Per)
		r.anybody = r.Tenants == nil && r.Methods == nil && r.Groups == nil
		r.meters = metersOf(r)
		for i := range r.meters {
			r.meters[i].limiter = l
		}
		key := tableKey{r.name, string(joined(r.Per))}
		if r.table = l.tables[key]; r.table == nil {
			r.table = newTable()
		}
		r.seed = r.table.seed
		l.restore(r, key)
		tables[key] = r.table
		next.keyed = next.keyed || slices.Contains(r.Per, v1.PerKey)
		next.phases[r.phase] = append(next.phases[r.phase], r)
	}
	for name, s := range c.MCPServers {
		if s.Weigh() {
			next.weighs = append(next.weighs, name)
		}
	}
	slices.Sort(next.weighs)
	l.tables, l.rules = tables, next
	return next
}

func joined(all []string) (b []byte) {
	for _, text := range all {
		b = appendText(b, text)
	}
	return b
}

// Shared tells whether limits are shared with other replicas, and if so, of how many this one is, and whether it goes by its own
// part of each because the others cannot be asked.
func (l *Limiter) Shared() (replicas int, local, shared bool) {
	s := l.share
	if s == nil {
		return 1, false, false
	}
	return int(s.replicas.Load()), s.away(), true
}
