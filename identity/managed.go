package identity

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/store"
)

const (
	readTime  = 5 * time.Second        // for the store to answer
	readAgain = 200 * time.Millisecond // between two readings that unknown keys ask for
	usedEvery = time.Minute            // when a key was used is told to about this
)

// managed are the keys of the store. They are all in memory, and read again when they changed.
type managed struct {
	a     *Authenticator
	store store.KeyStore
	keys  atomic.Pointer[managedKeys]
	every atomic.Int64 // nanoseconds between two looks for changes
	poke  chan struct{}

	mu       sync.Mutex // one reading at a time
	revision int64
	began    time.Time // the last reading
	whole    bool      // some reading succeeded
	trouble  trouble
}

// managedKeys are all keys.
type managedKeys struct {
	ids, names map[string]*managedKey // by id, and by the Key() of the principal
}

// managedKey is a key with its principals: that of the present secret, and that of the one before.
type managedKey struct {
	*store.Key
	principal, before *Principal
	used, told        atomic.Int64 // Unix seconds; what the store was told of them
}

func newManaged(a *Authenticator, s store.KeyStore) *managed {
	m := &managed{a: a, store: s, poke: make(chan struct{}, 1)}
	m.keys.Store(&managedKeys{})
	m.every.Store(int64(15 * time.Second))
	a.tasks.Go(m.run)
	return m
}

// pace has changes be seen within the time.
func (m *managed) pace(revocation time.Duration) {
	if revocation > 0 && m.every.Swap(int64(revocation/2)) != int64(revocation/2) {
		select {
		case m.poke <- struct{}{}:
		default:
		}
	}
}

// run keeps the keys current.
func (m *managed) run() {
	for {
		if err := m.read(m.a.ctx); err != nil && m.a.ctx.Err() == nil {
			m.a.log.Warn("managed keys are not current: the store cannot be read", "error", err)
		}
		wait := time.NewTimer(time.Duration(m.every.Load()))
		select {
		case <-wait.C:
		case <-m.poke:
		case <-m.a.ctx.Done():
			wait.Stop()
			m.report(context.WithoutCancel(m.a.ctx))
			return
		}
		wait.Stop()
		m.report(m.a.ctx)
	}
}

// read takes in what changed.
func (m *managed) read(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.readLocked(ctx)
}

func (m *managed) readLocked(ctx context.Context) (err error) {
	defer func() {
		if m.a.ctx.Err() == nil {
			m.trouble.note(err)
		}
	}()
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	m.began = time.Now()
	revision, err := m.store.KeysRevision(ctx)
	if err != nil || m.whole && revision == m.revision {
		return err
	}
	m.report(ctx) // of those that may be gone then
	all, err := m.store.Keys(ctx)
	if err != nil {
		return err
	}
	if len(all) > store.KeysMost {
		m.a.log.Error("too many managed keys; those beyond the bound do not work", "keys", len(all), "most", store.KeysMost)
		all = all[:store.KeysMost]
	}
	was, next := m.keys.Load(), &managedKeys{make(map[string]*managedKey, len(all)), make(map[string]*managedKey, len(all))}
	for _, key := range all {
		k := m.kept(was.ids[key.ID], key)
		next.ids[k.ID], next.names[k.principal.key] = k, k
	}
	m.keys.Store(next)
	m.revision, m.whole = revision, true
	return nil
}

// kept is the entry of a key, with the principal that it had unless something of it changed.
func (m *managed) kept(was *managedKey, k *store.Key) *managedKey {
	next := &managedKey{Key: k}
	next.principal = managedPrincipal(k, k.Digest)
	if k.Previous != (store.Digest{}) {
		next.before = managedPrincipal(k, k.Previous)
	}
	if was != nil {
		next.used.Store(was.used.Load())
		next.told.Store(was.told.Load())
		next.principal = next.principal.unless(was.principal)
		next.before = next.before.unless(was.before)
	}
	return next
}

func managedPrincipal(k *store.Key, d store.Digest) *Principal {
	p := &Principal{
		Subject: k.Name, Tenant: k.Tenant, Groups: k.Groups, Roles: k.Roles, Scopes: k.Scopes, Method: MethodAPIKey, Expires: ending(k.Ends(d)),
		key: keyOf(k.Tenant, k.Name) + "//managed", proof: &proof{digest: d, managed: k.ID},
	}
	for name, value := range k.Attributes {
		p.attribute(name, value)
	}
	return p
}

// find is the principal of a key that is good now. One that is not known is looked for in the store, where it may be new.
func (m *managed) find(ctx context.Context, id string, d digest) *Principal {
	if k := m.keys.Load().ids[id]; k != nil {
		return m.good(k, d)
	}
	if m.again(ctx) != nil {
		return nil
	}
	if k := m.keys.Load().ids[id]; k != nil {
		return m.good(k, d)
	}
	return nil
}

// named is the principal of a key that is good now, by its Key(); nil when there is none.
func (m *managed) named(key string) *Principal {
	k := m.keys.Load().names[key]
	if k == nil || !k.Live(m.a.now()) {
		return nil
	}
	return k.principal
}

func (m *managed) good(k *managedKey, d digest) *Principal {
	now := m.a.now()
	if !k.Good(d, now) {
		return nil
	}
	if s := now.Unix(); s-k.used.Load() >= int64(usedEvery/time.Second) {
		k.used.Store(s)
	}
	if k.before != nil && d == k.Previous {
		return k.before
	}
	return k.principal
}

// again reads the keys, in one reading for all who ask meanwhile: strangers must not wear out the store.
func (m *managed) again(ctx context.Context) error {
	asked := time.Now()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.began.After(asked) {
		return nil
	}
	if rest := readAgain - time.Since(m.began); rest > 0 {
		wait := time.NewTimer(rest)
		defer wait.Stop()
		select {
		case <-wait.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return m.readLocked(context.WithoutCancel(ctx))
}

// report tells the store which keys were used.
func (m *managed) report(ctx context.Context) {
	used := map[string]time.Time{}
	for id, k := range m.keys.Load().ids {
		if at := k.used.Load(); at > k.told.Load() {
			k.told.Store(at)
			used[id] = time.Unix(at, 0)
		}
	}
	if len(used) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	if err := m.store.KeysUsed(ctx, used); err != nil {
		m.a.log.Debug("when keys were used is not kept", "error", err)
	}
}
