// Package memory is a cluster backend for replicas in one process.
package memory

import (
	"bytes"
	"context"
	"maps"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
)

const (
	// maxBytes bounds what all facts take together, names and a bit for the maps included.
	maxBytes  = 128 << 20
	perField  = 128
	maxLeases = 1 << 16
	// sweepEvery is how often what has expired is looked for when something is put.
	sweepEvery = time.Minute
)

var tried = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

// Backend is one. Any number of nodes may join it.
type Backend struct {
	started time.Time

	mu      sync.Mutex
	members map[string]*member
	facts   map[string]*key
	bytes   int
	leases  map[string]lease
	swept   time.Time
}

type key struct {
	fields  map[string]string
	expires time.Time
}

type lease struct {
	owner   string
	expires time.Time
}

// member is a replica that joined. Its lock is held for reading while something is delivered.
type member struct {
	mu   sync.RWMutex
	gone bool
	c    cluster.Callbacks
}

// New makes one.
func New() *Backend {
	now := time.Now()
	return &Backend{started: now, swept: now, members: map[string]*member{}, facts: map[string]*key{}, leases: map[string]lease{}}
}

// Name is memory.
func (*Backend) Name() string { return "memory" }

// Close ends it.
func (*Backend) Close() {}

// Status is always connected.
func (b *Backend) Status() cluster.Status {
	return cluster.Status{Backend: b.Name(), Connected: true, Since: b.started}
}

// Tried is always over.
func (*Backend) Tried() <-chan struct{} { return tried }

// Alone tells whether fewer than two nodes have joined.
func (b *Backend) Alone() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.members) < 2
}

// Join implements cluster.Backend.
func (b *Backend) Join(replica string, c cluster.Callbacks) (hide, leave func()) {
	m := &member{c: c}
	b.mu.Lock()
	b.members[replica] = m
	b.mu.Unlock()
	hide = func() {
		b.mu.Lock()
		if b.members[replica] == m {
			delete(b.members, replica)
		}
		b.mu.Unlock()
		m.mu.Lock()
		m.gone = true
		m.mu.Unlock()
	}
	return hide, hide
}

// Send implements cluster.Backend.
func (b *Backend) Send(_ context.Context, replica string, message []byte) error {
	b.mu.Lock()
	m := b.members[replica]
	b.mu.Unlock()
	if m == nil || !m.deliver(false, message) {
		return cluster.ErrGone
	}
	return nil
}

// Broadcast implements cluster.Backend.
func (b *Backend) Broadcast(_ context.Context, message []byte) (int, error) {
	b.mu.Lock()
	all := make([]*member, 0, len(b.members))
	for _, m := range b.members {
		all = append(all, m)
	}
	b.mu.Unlock()
	for _, m := range all {
		m.deliver(true, bytes.Clone(message))
	}
	return len(all), nil
}

func (m *member) deliver(broadcast bool, message []byte) bool {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.gone {
		return false
	}
	m.c.Deliver(broadcast, message)
	return true
}

// Put implements cluster.Backend.
func (b *Backend) Put(_ context.Context, name, field, value string, expires time.Time) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if now.Sub(b.swept) > sweepEvery {
		b.sweep(now)
	}
	k := b.live(name, now)
	if k == nil {
		k = &key{fields: map[string]string{}}
	}
	old, known := k.fields[field]
	grow := len(value) - len(old)
	if !known {
		grow = len(field) + len(value) + perField
	}
	if !known && len(k.fields) >= cluster.MaxFields || b.bytes+grow > maxBytes {
		return cluster.ErrFull
	}
	b.bytes += grow
	k.fields[field] = value
	if expires.After(k.expires) {
		k.expires = expires
	}
	b.facts[name] = k
	return nil
}

// live is a key that has not expired, or nil.
func (b *Backend) live(name string, now time.Time) *key {
	k := b.facts[name]
	if k != nil && !now.Before(k.expires) {
		b.forget(name, k)
		return nil
	}
	return k
}

func (b *Backend) forget(name string, k *key) {
	for field, value := range k.fields {
		b.bytes -= len(field) + len(value) + perField
	}
	delete(b.facts, name)
}

func (b *Backend) sweep(now time.Time) {
	b.swept = now
	for name := range b.facts {
		b.live(name, now)
	}
}

// Drop implements cluster.Backend.
func (b *Backend) Drop(_ context.Context, name, field string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := b.live(name, time.Now())
	if k == nil {
		return nil
	}
	if value, ok := k.fields[field]; ok {
		b.bytes -= len(field) + len(value) + perField
		delete(k.fields, field)
	}
	if len(k.fields) == 0 {
		delete(b.facts, name)
	}
	return nil
}

// Facts implements cluster.Backend.
func (b *Backend) Facts(_ context.Context, name string) (map[string]string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if k := b.live(name, time.Now()); k != nil {
		return maps.Clone(k.fields), nil
	}
	return nil, nil //nolint:nilnil // a nil map is an empty one
}

// Lock implements cluster.Backend.
func (b *Backend) Lock(_ context.Context, name, owner string, ttl time.Duration) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	if l, ok := b.leases[name]; ok && l.owner != owner && now.Before(l.expires) {
		return cluster.ErrHeld
	}
	if len(b.leases) >= maxLeases {
		maps.DeleteFunc(b.leases, func(_ string, l lease) bool { return !now.Before(l.expires) })
	}
	if _, ok := b.leases[name]; !ok && len(b.leases) >= maxLeases {
		return cluster.ErrFull
	}
	b.leases[name] = lease{owner, now.Add(ttl)}
	return nil
}

// Unlock implements cluster.Backend.
func (b *Backend) Unlock(_ context.Context, name, owner string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.leases[name].owner == owner {
		delete(b.leases, name)
	}
	return nil
}

// Owner implements cluster.Backend.
func (b *Backend) Owner(_ context.Context, name string) (string, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if l := b.leases[name]; time.Now().Before(l.expires) {
		return l.owner, nil
	}
	return "", nil
}
