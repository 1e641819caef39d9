package upstream

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// lingerTime is how long something is watched on that nobody wants any more, since clients come back.
	lingerTime = 30 * time.Second
	// spareMost is how many names linger: clients that go on from one to the next do not make them many.
	spareMost = 1000
	// wishTime is how long further wishes are waited for before the server is told of them.
	wishTime = 5 * time.Millisecond
)

// watcher holds what clients want to be told of by a server, and what the server agreed to tell.
// Everything is wanted by count, and stays in the maps with a count of zero as long as it lingers.
type watcher struct {
	kick   chan struct{} // has room for one
	up     chan struct{} // the server is ready again; has room for one
	linger time.Duration // lingerTime, but for tests
	calm   bool          // the server slept: nothing was missed; only keepWatch looks at it
	// anew is told of resources before they count as watched that were not a moment ago; may be nil.
	anew func(uris []string)

	mu       sync.Mutex
	kept     bool // keepWatch runs
	running  bool // and is not about to end since nobody wants anything
	holders  int
	spare    int // names that only linger
	uris     map[string]int
	tasks    map[string]int
	ticket   uint64 // counted up with what is new
	settled  uint64 // up to here it was found out whether the server tells of it
	lists    Lists  // that the server tells changes of, now
	told     map[string]struct{}
	tasking  map[string]struct{}
	decided  chan struct{} // closed at the next settling
	narrowed time.Time     // since when something lingers; zero when nothing does
}

func (w *watcher) init() {
	w.kick, w.up, w.linger = make(chan struct{}, 1), make(chan struct{}, 1), lingerTime
	w.uris, w.tasks = map[string]int{}, map[string]int{}
	w.told, w.tasking = map[string]struct{}{}, map[string]struct{}{}
	w.decided = make(chan struct{})
}

// Want has the server watched for more, until Unwant of the same. The ticket is for Watched.
func (s *Server) Want(wish Wish) (ticket uint64) {
	w := &s.watch
	w.mu.Lock()
	fresh := !w.running
	w.holders++
	fresh = w.add(w.uris, wish.URIs) || fresh
	fresh = w.add(w.tasks, wish.Tasks) || fresh
	if fresh {
		w.ticket++
	}
	ticket = w.ticket
	start := !w.kept
	w.kept, w.running = true, true
	w.mu.Unlock()
	if start && !s.spawn(s.keepWatch) {
		w.settle(Wish{}, ticket)
	}
	if fresh {
		poke(w.kick)
	}
	return ticket
}

// add counts names up and tells whether one of them is new; the caller holds the lock.
func (w *watcher) add(all map[string]int, names []string) (fresh bool) {
	for _, name := range names {
		n, known := all[name]
		all[name] = n + 1
		fresh = fresh || !known
		if known && n == 0 {
			w.spare--
		}
	}
	return fresh
}

// drop counts names down; the caller holds the lock.
func (w *watcher) drop(all map[string]int, names []string) {
	for _, name := range names {
		if all[name]--; all[name] == 0 {
			w.spare++
		}
	}
}

// Unwant takes back what Want asked for.
func (s *Server) Unwant(wish Wish) {
	w := &s.watch
	w.mu.Lock()
	w.holders--
	w.drop(w.uris, wish.URIs)
	w.drop(w.tasks, wish.Tasks)
	nudge := w.narrowed.IsZero() && (w.holders == 0 || len(wish.URIs)+len(wish.Tasks) > 0)
	if nudge || w.holders == 0 {
		w.narrowed = time.Now()
	}
	if w.spare >= spareMost {
		w.purge()
		w.ticket++
		nudge = true
	}
	w.mu.Unlock()
	if nudge {
		poke(w.kick)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// Watched waits until it is known what of a wish the server tells, or ctx ends, and returns that part.
func (s *Server) Watched(ctx context.Context, ticket uint64, wish Wish) Wish {
	w := &s.watch
	for {
		w.mu.Lock()
		got, all := w.part(wish)
		known, decided := all || w.settled >= ticket, w.decided
		w.mu.Unlock()
		if known {
			return got
		}
		select {
		case <-decided:
		case <-ctx.Done():
			return got
		}
	}
}

// Watching is what of a wish the server tells now; known says that waiting would not change it.
func (s *Server) Watching(ticket uint64, wish Wish) (got Wish, known bool) {
	w := &s.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	got, known = w.part(wish)
	return got, known || w.settled >= ticket
}

// part is what of a wish is watched now; the caller holds the lock.
func (w *watcher) part(wish Wish) (got Wish, all bool) {
	got.Lists = wish.Lists & w.lists
	for _, u := range wish.URIs {
		if _, ok := w.told[u]; ok {
			got.URIs = append(got.URIs, u)
		}
	}
	for _, t := range wish.Tasks {
		if _, ok := w.tasking[t]; ok {
			got.Tasks = append(got.Tasks, t)
		}
	}
	return got, got.Lists == wish.Lists && len(got.URIs) == len(wish.URIs) && len(got.Tasks) == len(wish.Tasks)
}

// wanted is all that is to be watched, in order, with the ticket up to which it was asked for. The server may stop to tell of all else
// at once, so that this is not relied on from now on.
func (w *watcher) wanted() (Wish, uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	keep(w.told, w.uris)
	keep(w.tasking, w.tasks)
	wish := Wish{Lists: AllLists, URIs: make([]string, 0, len(w.uris)), Tasks: make([]string, 0, len(w.tasks))}
	for u := range w.uris {
		wish.URIs = append(wish.URIs, u)
	}
	for t := range w.tasks {
		wish.Tasks = append(wish.Tasks, t)
	}
	slices.Sort(wish.URIs)
	slices.Sort(wish.Tasks)
	return wish, w.ticket
}

// keep drops what is not wanted.
func keep(told map[string]struct{}, wanted map[string]int) {
	maps.DeleteFunc(told, func(name string, _ struct{}) bool {
		_, ok := wanted[name]
		return !ok
	})
}

// settle records what is watched from now on, as the answer to all that was wanted up to the ticket.
func (w *watcher) settle(got Wish, ticket uint64) {
	if w.anew != nil && len(got.URIs) > 0 {
		if uris := w.untold(got.URIs); len(uris) > 0 {
			w.anew(uris)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lists = got.Lists
	w.told, w.tasking = set(got.URIs), set(got.Tasks)
	w.settled = max(w.settled, ticket)
	close(w.decided)
	w.decided = make(chan struct{})
}

// untold are those of some URIs that the server does not tell of yet.
func (w *watcher) untold(uris []string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(uris), func(uri string) bool {
		_, told := w.told[uri]
		return told
	})
}

func set(names []string) map[string]struct{} {
	m := make(map[string]struct{}, len(names))
	for _, n := range names {
		m[n] = struct{}{}
	}
	return m
}

// sweep forgets what lingered long enough. It tells for how long something lingers still, and whether anybody wants anything.
func (w *watcher) sweep() (left time.Duration, changed, idle bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.narrowed.IsZero() {
		return 0, false, false
	}
	if left = w.linger - time.Since(w.narrowed); left > 0 {
		return left, false, false
	}
	w.narrowed = time.Time{}
	if w.holders == 0 {
		w.running, w.lists = false, 0
		w.purge()
		w.told, w.tasking = nil, nil
		return 0, true, true
	}
	return 0, w.purge(), false
}

// purge forgets what lingers; the caller holds the lock.
func (w *watcher) purge() (changed bool) {
	for _, all := range [...]map[string]int{w.uris, w.tasks} {
		maps.DeleteFunc(all, func(_ string, n int) bool { return n <= 0 })
	}
	changed, w.spare = w.spare > 0, 0
	return changed
}

var (
	// errUnwatched: nobody wants to be told of anything any more.
	errUnwatched = errors.New("nobody watches")
	// errWatchOver: the server ended a watch.
	errWatchOver = errors.New("the server ended the watch")
)

// await returns nil when the wishes changed, and an error when the watch is over: because broken was closed, nobody wants it
// any more, or ctx ended.
func (w *watcher) await(ctx context.Context, broken <-chan struct{}) error {
	for {
		left, changed, idle := w.sweep()
		switch {
		case idle:
			return errUnwatched
		case changed || w.fresh():
			return nil
		}
		if err := w.sleep(ctx, broken, left); err != nil {
			return err
		}
	}
}

// fresh tells whether something is wanted that was not settled yet.
func (w *watcher) fresh() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ticket > w.settled
}

// sleep waits for a kick, gathers those that follow, and returns; at the latest after limit, if there is one.
func (w *watcher) sleep(ctx context.Context, broken <-chan struct{}, limit time.Duration) error {
	var over <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		over = t.C
	}
	select {
	case <-w.kick:
	case <-over:
		return nil
	case <-broken:
		return errWatchOver
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case <-time.After(wishTime):
	case <-broken:
		return errWatchOver
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// keepWatch watches the server as long as somebody wants it watched, again each time the watch broke, with growing pauses.
func (s *Server) keepWatch(ctx context.Context) {
	w := &s.watch
	var pause time.Duration
	for {
		began := time.Now()
		p, err := s.link.ready(ctx)
		if err == nil {
			err = s.link.attend(ctx, p, w)
		}
		if !errors.Is(err, errUnwatched) {
			w.settle(Wish{}, w.ticketNow())
			s.log.Debug("watch ended", "error", err)
			if pause = min(max(2*pause, retryFirst), retryMost); time.Since(began) > settled {
				pause = retryFirst
			}
			err = w.rest(ctx, pause)
		}
		if err != nil && (ctx.Err() != nil || w.retire()) {
			return
		}
	}
}

// retire ends the watch, unless somebody wants something again.
func (w *watcher) retire() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.kept = w.running
	return !w.kept
}

// rest waits before the next try, until the server is ready again; it fails when nobody wants one.
func (w *watcher) rest(ctx context.Context, pause time.Duration) error {
	t := time.NewTimer(pause)
	defer t.Stop()
	for resting := true; resting; {
		select {
		case <-t.C:
			resting = false
		case <-w.up:
			resting = false
		case <-w.kick:
			w.settle(Wish{}, w.ticketNow()) // nothing can be watched now
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	if _, _, idle := w.sweep(); idle {
		return errUnwatched
	}
	return nil
}

// needs tells whether something is wanted that the server tells only while it runs and that cannot be made up for.
func (w *watcher) needs() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.uris)+len(w.tasks) > 0
}

func (w *watcher) ticketNow() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ticket
}

// began tells that a watch started anew: what the server said before may have been missed.
func (s *Server) began(lists Lists) {
	if s.watch.calm {
		s.watch.calm = false
		return
	}
	if s.opts.WatchBegan != nil {
		s.opts.WatchBegan(lists)
	}
}
