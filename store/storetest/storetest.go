// Package storetest is what every store must do, as a test.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/store"
)

// Database is one that the suite has for itself.
type Database struct {
	// Open opens it. Several may have it open.
	Open func(ctx context.Context) (store.Store, error)
}

// Run runs the suite; fresh makes a database that nobody opened yet.
func Run(t *testing.T, fresh func(t *testing.T) Database) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Database)
	}{
		{"Empty", empty},
		{"Keeps", keeps},
		{"Names", names},
		{"FirstKey", firstKey},
		{"FirstOfMany", firstOfMany},
		{"Rotate", rotate},
		{"Revoke", revoke},
		{"Used", used},
		{"UsedAtOnce", usedAtOnce},
		{"Revision", revision},
		{"Concurrent", concurrent},
		{"Odd", odd},
		{"Canceled", canceled},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, fresh(t)) })
	}
}

var now = time.Date(2026, 11, 21, 10, 11, 12, 345678000, time.UTC)

func open(t *testing.T, d Database) store.Store {
	t.Helper()
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func key(name string) *store.Key {
	id := store.NewID()
	return &store.Key{ID: id, Name: name, Tenant: "acme", Digest: store.DigestOf(store.NewToken(id)), Created: now, Creator: "test"}
}

func add(t *testing.T, s store.Store, k *store.Key) *store.Key {
	t.Helper()
	if err := s.AddKey(t.Context(), k); err != nil {
		t.Fatal(err)
	}
	return k
}

func get(t *testing.T, s store.Store, id string) *store.Key {
	t.Helper()
	k, err := s.Key(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func all(t *testing.T, s store.Store) []*store.Key {
	t.Helper()
	keys, err := s.Keys(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s (-want +got):\n%s", what, d)
	}
}

func empty(t *testing.T, d Database) {
	s := open(t, d)
	same(t, "keys", len(all(t, s)), 0)
	if _, err := s.Key(t.Context(), store.NewID()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key that nobody made: %v", err)
	}
}

// keeps: all of a key comes back, also from a database that was closed meanwhile.
func keeps(t *testing.T, d Database) {
	s, err := d.Open(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	k := key("ci")
	k.Groups, k.Roles, k.Scopes = []string{"a", `b"c`}, []string{"admin"}, []string{"mcp:read"}
	k.Attributes = map[string]string{"team": "größe \x01"}
	k.Previous, k.PreviousUntil = store.DigestOf("before"), now.Add(time.Hour)
	k.Rotated, k.Expires, k.Used = now.Add(time.Minute), now.Add(time.Hour), now.Add(2*time.Hour)
	bare := key("bare")
	add(t, s, k)
	add(t, s, bare)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, d)
	same(t, "key", get(t, s, k.ID), k)
	same(t, "all", all(t, s), []*store.Key{bare, k})
}

// names are unique in a tenant, among the keys that are not revoked.
func names(t *testing.T, d Database) {
	s := open(t, d)
	first := add(t, s, key("ci"))
	if err := s.AddKey(t.Context(), key("ci")); !errors.Is(err, store.ErrTaken) {
		t.Errorf("the same name: %v", err)
	}
	other := key("ci")
	other.Tenant = "other"
	add(t, s, other)
	add(t, s, key("CI"))
	if _, err := s.RevokeKey(t.Context(), first.ID, now); err != nil {
		t.Fatal(err)
	}
	add(t, s, key("ci"))
	same(t, "keys", len(all(t, s)), 3)
}

func firstKey(t *testing.T, d Database) {
	s := open(t, d)
	k := key("admin")
	for i, want := range []bool{true, false} {
		if got, err := s.AddFirstKey(t.Context(), k); err != nil || got != want {
			t.Fatalf("time %d: %v, %v", i, got, err)
		}
	}
	if _, err := s.RevokeKey(t.Context(), k.ID, now); err != nil {
		t.Fatal(err)
	}
	if got, err := s.AddFirstKey(t.Context(), key("admin")); err != nil || got {
		t.Errorf("after the only key was revoked: %v, %v", got, err)
	}
	same(t, "keys", len(all(t, s)), 0)
}

// firstOfMany: of many that open an empty database at once, one has the first key.
func firstOfMany(t *testing.T, d Database) {
	var firsts atomic.Int32
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			s, err := d.Open(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer s.Close()
			switch first, err := s.AddFirstKey(t.Context(), key("admin")); {
			case err != nil:
				t.Error(err)
			case first:
				firsts.Add(1)
			}
		})
	}
	wg.Wait()
	same(t, "firsts", firsts.Load(), int32(1))
	same(t, "keys", len(all(t, open(t, d))), 1)
}

func rotate(t *testing.T, d Database) {
	s := open(t, d)
	k := add(t, s, key("ci"))
	next := store.DigestOf("next")
	got, err := s.RotateKey(t.Context(), k.ID, next, now.Add(time.Minute), now.Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	want := *k
	want.Digest, want.Previous, want.PreviousUntil, want.Rotated = next, k.Digest, now.Add(time.Hour), now.Add(time.Minute)
	same(t, "answer", got, &want)
	same(t, "kept", get(t, s, k.ID), &want)
	if _, err := s.RotateKey(t.Context(), store.NewID(), next, now, now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a key that nobody made: %v", err)
	}
}

func revoke(t *testing.T, d Database) {
	s := open(t, d)
	k := add(t, s, key("ci"))
	got, err := s.RevokeKey(t.Context(), k.ID, now)
	if err != nil || !got.Revoked.Equal(now) {
		t.Fatalf("%v, %v", got, err)
	}
	same(t, "keys", len(all(t, s)), 0)
	same(t, "kept", get(t, s, k.ID), got)
	if _, err := s.RevokeKey(t.Context(), k.ID, now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("again: %v", err)
	}
	if _, err := s.RotateKey(t.Context(), k.ID, store.DigestOf("x"), now, now); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("another secret for a revoked key: %v", err)
	}
}

func used(t *testing.T, d Database) {
	s := open(t, d)
	a, b := add(t, s, key("a")), add(t, s, key("b"))
	for _, at := range []time.Time{now, now.Add(-time.Hour)} {
		if err := s.KeysUsed(t.Context(), map[string]time.Time{a.ID: at, "gone": at}); err != nil {
			t.Fatal(err)
		}
	}
	same(t, "used", get(t, s, a.ID).Used, now)
	same(t, "not used", get(t, s, b.ID).Used, time.Time{})
}

// usedAtOnce: replicas that tell of the same keys do not wait for each other in a circle.
func usedAtOnce(t *testing.T, d Database) {
	stores := []store.Store{open(t, d), open(t, d)}
	at := map[string]time.Time{}
	for i := range 30 {
		at[add(t, stores[0], key(fmt.Sprint(i))).ID] = now
	}
	var wg sync.WaitGroup
	for _, s := range stores {
		wg.Go(func() {
			for n := range 20 {
				later := map[string]time.Time{}
				for id := range at {
					later[id] = now.Add(time.Duration(n) * time.Minute)
				}
				if err := s.KeysUsed(t.Context(), later); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for id := range at {
		same(t, "used", get(t, stores[0], id).Used, now.Add(19*time.Minute))
	}
}

func revision(t *testing.T, d Database) {
	s, other := open(t, d), open(t, d)
	last := int64(-1)
	changed := func(what string, want bool) {
		t.Helper()
		n, err := other.KeysRevision(t.Context())
		if err != nil || (n != last) != want {
			t.Errorf("after %s: revision %d after %d, %v", what, n, last, err)
		}
		last = n
	}
	changed("nothing", true)
	changed("nothing", false)
	k := add(t, s, key("a"))
	changed("add", true)
	if err := s.AddKey(t.Context(), key("a")); err == nil {
		t.Error("added twice")
	}
	changed("a refused add", false)
	if err := s.KeysUsed(t.Context(), map[string]time.Time{k.ID: now}); err != nil {
		t.Error(err)
	}
	changed("use", false)
	if _, err := s.RotateKey(t.Context(), k.ID, store.DigestOf("x"), now, now); err != nil {
		t.Error(err)
	}
	changed("rotate", true)
	if _, err := s.RevokeKey(t.Context(), k.ID, now); err != nil {
		t.Error(err)
	}
	changed("revoke", true)
}

// concurrent: what many write at once is all there, and counted.
func concurrent(t *testing.T, d Database) {
	stores := []store.Store{open(t, d), open(t, d)}
	const writers, each = 6, 5
	var wg sync.WaitGroup
	for w := range writers {
		s := stores[w%len(stores)]
		wg.Go(func() {
			for i := range each {
				k := key(fmt.Sprint(w, "-", i))
				if err := s.AddKey(t.Context(), k); err != nil {
					t.Error(err)
				} else if _, err := s.Key(t.Context(), k.ID); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	same(t, "keys", len(all(t, stores[0])), writers*each)
	if n, err := stores[1].KeysRevision(t.Context()); err != nil || n != writers*each {
		t.Errorf("revision %d, %v", n, err)
	}
}

// odd ids and names are only that.
func odd(t *testing.T, d Database) {
	s := open(t, d)
	for _, id := range []string{"", "'", `"; DROP TABLE toolcrib_keys; --`, "%", "\u212a", "$1"} {
		if _, err := s.Key(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v", id, err)
		}
		k := key("name " + id)
		add(t, s, k)
		same(t, "name", get(t, s, k.ID).Name, "name "+id)
	}
}

func canceled(t *testing.T, d Database) {
	s := open(t, d)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	k := key("late")
	if err := s.AddKey(ctx, k); !errors.Is(err, context.Canceled) {
		t.Errorf("AddKey: %v", err)
	}
	if _, err := s.Key(ctx, k.ID); err == nil || errors.Is(err, store.ErrNotFound) {
		t.Errorf("Key: %v", err)
	}
	same(t, "keys", len(all(t, s)), 0)
}
