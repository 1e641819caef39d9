package limit

import (
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"
)

const (
	shards = 64
	// keysMost is how many keys one limit keeps apart. Those that come when so many are in use share one amount in each shard.
	keysMost   = 1 << 17
	sweepAfter = int64(time.Second)
	// recents is how many keys of a limit are found at once, without their shard: each at the one place that it may have.
	recents = 256
)

// table holds the accounts of a limit by their keys.
type table struct {
	seed   maphash.Seed
	recent [recents]atomic.Pointer[account]
	shards [shards]shard
	shared atomic.Int64 // requests of keys that there was no room for
}

// account is what one key has of a limit: a cell of each kind that the limit has, or had in a plan before.
type account struct {
	key   string
	cells [kinds]atomic.Pointer[cell]
	room  []cell // beside it in memory, that are not used yet
}

type shard struct {
	mu       sync.RWMutex
	accounts map[string]*account
	swept    int64
	rest     *account // of all keys that there is no room for
	_        [64]byte
}

func newTable() *table {
	t := &table{seed: maphash.MakeSeed()}
	for i := range t.shards {
		t.shards[i].accounts = map[string]*account{}
	}
	return t
}

// find is the account of a key. It has no cell yet of a kind that no plan before had, until enter gives it one.
func (r *rule) find(key []byte, t moment) *account {
	hash := maphash.Bytes(r.seed, key)
	place := &r.table.recent[hash/shards%recents]
	if a := place.Load(); a != nil && a.key == string(key) {
		return a
	}
	s := &r.table.shards[hash%shards]
	s.mu.RLock()
	a := s.accounts[string(key)]
	if a != nil {
		place.Store(a) // with the lock, so that what is forgotten does not come back
	}
	s.mu.RUnlock()
	if a == nil {
		a = r.enter(key, t)
	}
	return a
}

// enter makes an account for a key, if there is room, and gives it the cells that it lacks.
func (r *rule) enter(key []byte, t moment) *account {
	s := &r.table.shards[maphash.Bytes(r.seed, key)%shards]
	s.mu.Lock()
	defer s.mu.Unlock()
	a := s.accounts[string(key)]
	if a == nil {
		a = r.open(s, key, t)
	}
	for i := range r.meters {
		if m := &r.meters[i]; a.cells[m.kind].Load() == nil {
			c := a.next()
			m.fill(c, t)
			a.cells[m.kind].Store(c)
		}
	}
	return a
}

// open makes an account for a key, or finds that which all share that there is no room for. The caller holds the lock of the shard.
func (r *rule) open(s *shard, key []byte, t moment) *account {
	if len(s.accounts) >= keysMost/shards && t.mono-s.swept >= sweepAfter {
		r.sweep(s, t, true)
	}
	if len(s.accounts) < keysMost/shards {
		a := r.account()
		a.key = string(key)
		s.accounts[a.key] = a
		return a
	}
	r.table.shared.Add(1)
	if s.rest == nil {
		s.rest = r.account()
	}
	return s.rest
}

// account makes an account with room beside it for the cells of a limit.
func (r *rule) account() *account {
	const most = 2 // such limits are by far the most
	switch len(r.meters) {
	case 1:
		b := new(struct {
			of   account
			room [1]cell
		})
		b.of.room = b.room[:]
		return &b.of
	case most:
		b := new(struct {
			of   account
			room [most]cell
		})
		b.of.room = b.room[:]
		return &b.of
	}
	return new(account)
}

// next is a cell that nobody has yet.
func (a *account) next() *cell {
	if len(a.room) == 0 {
		return new(cell)
	}
	c := &a.room[0]
	a.room = a.room[1:]
	return c
}

// sweep forgets accounts of which nothing is used: they are as if they had just been made. The caller holds the lock of the shard.
func (r *rule) sweep(s *shard, t moment, crowded bool) {
	s.swept = t.mono
	for key, a := range s.accounts {
		if r.close(a, t, crowded) {
			delete(s.accounts, key)
			hash := maphash.String(r.seed, key)
			r.table.recent[hash/shards%recents].CompareAndSwap(a, nil)
		}
	}
}

// close ends an account of which nothing is used.
func (r *rule) close(a *account, t moment, crowded bool) bool {
	var locked [kinds]*cell
	idle := true
	for i := range r.meters {
		m := &r.meters[i]
		c := a.cells[m.kind].Load()
		if c == nil {
			continue
		}
		c.mu.Lock()
		locked[i] = c
		if idle = m.untouched(c, t, crowded); !idle {
			break
		}
	}
	for _, c := range locked {
		if c != nil {
			c.dead = idle
			c.mu.Unlock()
		}
	}
	return idle
}

// sweepAll sweeps every shard.
func (r *rule) sweepAll(t moment) {
	for i := range r.table.shards {
		s := &r.table.shards[i]
		s.mu.Lock()
		r.sweep(s, t, false)
		s.mu.Unlock()
	}
}
