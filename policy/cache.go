package policy

import (
	"sync"
	"sync/atomic"
)

// cache keeps what was used last, most entries at least and twice as many at most. Its zero value keeps nothing.
type cache[K comparable, V any] struct {
	most       int64
	young, old atomic.Pointer[generation]
	turn       sync.Mutex
}

type generation struct {
	sync.Map
	n atomic.Int64
}

// get returns what is kept for a key.
func (c *cache[K, V]) get(k K) (v V, ok bool) {
	young := c.young.Load()
	if young == nil {
		return v, false
	}
	if got, ok := young.Load(k); ok {
		return got.(V), true
	}
	old := c.old.Load()
	if old == nil {
		return v, false
	}
	got, ok := old.Load(k)
	if !ok {
		return v, false
	}
	return c.put(k, got.(V)), true
}

// put keeps a value, unless there is one for the key already, and returns the one that is kept.
func (c *cache[K, V]) put(k K, v V) V {
	young := c.young.Load()
	if young == nil || young.n.Load() >= c.most {
		young = c.next(young)
	}
	got, loaded := young.LoadOrStore(k, v)
	if !loaded {
		young.n.Add(1)
	}
	return got.(V)
}

// next begins a generation, unless another caller has done so since.
func (c *cache[K, V]) next(full *generation) *generation {
	c.turn.Lock()
	defer c.turn.Unlock()
	if now := c.young.Load(); now != full {
		return now
	}
	fresh := &generation{}
	c.old.Store(full)
	c.young.Store(fresh)
	return fresh
}
