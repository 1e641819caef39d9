package telemetry

import (
	"iter"
	"maps"
	"sync"
	"sync/atomic"
)

// table is a small map that is read per request and hardly ever grows: a look-up takes no lock and, unlike
// sync.Map's, does not allocate for a struct key. The zero value is ready.
type table[K comparable, V any] struct {
	mu  sync.Mutex
	now atomic.Pointer[map[K]V]
}

func (t *table[K, V]) get(k K) (V, bool) {
	m := t.now.Load()
	if m == nil {
		var none V
		return none, false
	}
	v, ok := (*m)[k]
	return v, ok
}

// keys are those there are, in any order.
func (t *table[K, V]) keys() iter.Seq[K] {
	if m := t.now.Load(); m != nil {
		return maps.Keys(*m)
	}
	return func(func(K) bool) {}
}

func (t *table[K, V]) len() int {
	if m := t.now.Load(); m != nil {
		return len(*m)
	}
	return 0
}

// add returns the value of k, made by newValue when there is none yet.
func (t *table[K, V]) add(k K, newValue func() V) V {
	t.mu.Lock()
	defer t.mu.Unlock()
	if v, ok := t.get(k); ok {
		return v
	}
	grown := make(map[K]V, t.len()+1)
	if m := t.now.Load(); m != nil {
		maps.Copy(grown, *m)
	}
	v := newValue()
	grown[k] = v
	t.now.Store(&grown)
	return v
}
