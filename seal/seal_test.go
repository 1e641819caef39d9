package seal_test

import (
	"bytes"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/seal"
)

func testKey(n byte) []byte {
	k := make([]byte, seal.KeySize)
	for i := range k {
		k[i] = byte(i)*7 + n
	}
	return k
}

func ring(t testing.TB, keys ...[]byte) *seal.Ring {
	t.Helper()
	r, err := seal.NewRing(keys...)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRoundTrip(t *testing.T) {
	r := ring(t, testKey(1))
	for _, size := range []int{0, 1, 300, seal.MaxPayload} {
		payload := bytes.Repeat([]byte("\x00p"), size)[:size]
		token := r.Seal("session", []byte("acme/ci"), payload, time.Minute)
		got, err := r.Open("session", []byte("acme/ci"), token, time.Now())
		if err != nil || !bytes.Equal(got, payload) {
			t.Errorf("payload of %d bytes: came back as %d, %v", size, len(got), err)
		}
		if strings.Trim(token, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_") != "" {
			t.Errorf("token is not header-safe: %.80q", token)
		}
	}
	over := r.Seal("session", nil, make([]byte, seal.MaxPayload+3), time.Minute)
	if _, err := r.Open("session", nil, over, time.Now()); !errors.Is(err, seal.ErrInvalid) {
		t.Errorf("a token over the bound: %v", err)
	}
}

func TestRefused(t *testing.T) {
	r := ring(t, testKey(1))
	token := r.Seal("session", []byte("acme/ci"), []byte("payload"), time.Minute)
	tests := []struct {
		name, kind, binding, token string
		ring                       *seal.Ring
	}{
		{"empty", "session", "acme/ci", "", r},
		{"other key", "session", "acme/ci", token, ring(t, testKey(2))},
		{"other kind", "cursor", "acme/ci", token, r},
		{"other binding", "session", "acme/cj", token, r},
		{"no binding", "session", "", token, r},
		{"kind and binding shifted", "sessionacme", "/ci", token, r},
		{"padded", "session", "acme/ci", token + "=", r},
		{"line break inside", "session", "acme/ci", token[:8] + "\n" + token[8:], r},
		{"line breaks behind", "session", "acme/ci", token + "\r\n\r\n", r},
		{"longer", "session", "acme/ci", token + "AAAA", r},
		{"not base64", "session", "acme/ci", "%" + token[1:], r},
		{"huge", "session", "acme/ci", strings.Repeat("A", 10<<20), r},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := tt.ring.Open(tt.kind, []byte(tt.binding), tt.token, time.Now()); !errors.Is(err, seal.ErrInvalid) || got != nil {
				t.Errorf("got %q, %v", got, err)
			}
		})
	}
}

// TestForged changes each bit of a token's bytes, and cuts the token at each length.
func TestForged(t *testing.T) {
	r := ring(t, testKey(1), testKey(2))
	token := r.Seal("session", []byte("acme/ci"), []byte("payload"), time.Minute)
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for bit := range len(raw) * 8 {
		raw[bit/8] ^= 1 << (bit % 8)
		if _, err := r.Open("session", []byte("acme/ci"), base64.RawURLEncoding.EncodeToString(raw), now); !errors.Is(err, seal.ErrInvalid) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
		raw[bit/8] ^= 1 << (bit % 8)
	}
	for n := range token {
		if _, err := r.Open("session", []byte("acme/ci"), token[:n], now); !errors.Is(err, seal.ErrInvalid) {
			t.Fatalf("cut to %d: %v", n, err)
		}
	}
}

func TestExpiry(t *testing.T) {
	r := ring(t, testKey(1))
	open := func(ttl, after time.Duration) error {
		made := time.Now()
		_, err := r.Open("x", nil, r.Seal("x", nil, nil, ttl), made.Add(after))
		return err
	}
	tests := []struct {
		name       string
		ttl, after time.Duration
		want       error
	}{
		{"before", time.Hour, time.Hour - time.Minute, nil},
		{"after", time.Hour, time.Hour + time.Minute, seal.ErrExpired},
		{"zero ttl", 0, time.Minute, seal.ErrExpired},
		{"negative ttl", -1 << 63, 0, seal.ErrExpired},
		{"longest ttl", 1<<63 - 1, 24 * time.Hour, nil},
	}
	for _, tt := range tests {
		if err := open(tt.ttl, tt.after); !errors.Is(err, tt.want) {
			t.Errorf("%s: got %v, want %v", tt.name, err, tt.want)
		}
	}
	if err := open(0, 0); !errors.Is(err, seal.ErrExpired) {
		t.Errorf("a ttl of zero at once: %v", err)
	}
	// A token that does not belong here must not tell whether it has expired.
	token := r.Seal("x", []byte("a"), nil, -time.Hour)
	if _, err := r.Open("x", []byte("b"), token, time.Now()); !errors.Is(err, seal.ErrInvalid) {
		t.Errorf("expired and of another binding: %v", err)
	}
}

func TestRotation(t *testing.T) {
	old := ring(t, testKey(1))
	both := ring(t, testKey(2), testKey(1))
	fresh := ring(t, testKey(2))
	before := old.Seal("x", nil, []byte("before"), time.Hour)
	after := both.Seal("x", nil, []byte("after"), time.Hour)
	tests := []struct {
		name, token string
		ring        *seal.Ring
		opens       bool
	}{
		{"old token, rotated ring", before, both, true},
		{"new token, rotated ring", after, both, true},
		{"new token, old key gone", after, fresh, true},
		{"old token, old key gone", before, fresh, false},
		{"new token, old replica", after, old, false},
	}
	for _, tt := range tests {
		if _, err := tt.ring.Open("x", nil, tt.token, time.Now()); (err == nil) != tt.opens {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

// TestUnique seals the same payload often: no token, nonce or key id position may repeat or be guessable.
func TestUnique(t *testing.T) {
	r := ring(t, testKey(1))
	const many = 20_000
	seen := make(map[string]bool, many)
	var ones [24 * 8]int // per bit of the nonce
	for range many {
		token := r.Seal("session", nil, []byte("same"), time.Hour)
		raw, err := base64.RawURLEncoding.DecodeString(token)
		if err != nil {
			t.Fatal(err)
		}
		nonce := raw[11:35]
		if seen[string(nonce)] {
			t.Fatal("a nonce came twice")
		}
		seen[string(nonce)] = true
		for bit := range ones {
			ones[bit] += int(nonce[bit/8] >> (bit % 8) & 1)
		}
	}
	// 8 standard deviations around half: fails by chance once in 10^12 runs.
	for bit, n := range ones {
		if n < many/2-566 || n > many/2+566 {
			t.Errorf("bit %d of the nonce is set in %d of %d tokens", bit, n, many)
		}
	}
}

func TestAllocations(t *testing.T) {
	r := ring(t, testKey(1))
	binding, payload, now := []byte("acme/ci"), make([]byte, 200), time.Now()
	token := r.Seal("session", binding, payload, time.Hour)
	if n := testing.AllocsPerRun(100, func() { r.Seal("session", binding, payload, time.Hour) }); n > 4 {
		t.Errorf("Seal allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() {
		if _, err := r.Open("session", binding, token, now); err != nil {
			t.Fatal(err)
		}
	}); n > 3 {
		t.Errorf("Open allocates %v times", n)
	}
}

func FuzzOpen(f *testing.F) {
	r := ring(f, testKey(1), testKey(2))
	// Expired from the start, so that nothing the fuzzer starts from or makes may open.
	f.Add("session", []byte("acme/ci"), r.Seal("session", []byte("acme/ci"), []byte("payload"), -time.Hour))
	f.Add("", []byte(nil), "")
	f.Add("x", []byte("y"), "AQ")
	f.Fuzz(func(t *testing.T, kind string, binding []byte, token string) {
		payload, err := r.Open(kind, binding, token, time.Now())
		if err == nil || payload != nil {
			t.Fatalf("a token that nobody sealed opens: %q", token)
		}
		again, err := r.Open(kind, binding, r.Seal(kind, binding, []byte(token), time.Hour), time.Now())
		if len(token) <= seal.MaxPayload && (err != nil || string(again) != token) {
			t.Fatalf("does not come back: %v", err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	r := ring(b, testKey(1))
	binding, payload := []byte("acme/ci"), make([]byte, 200)
	b.ReportAllocs()
	for b.Loop() {
		r.Seal("session", binding, payload, time.Hour)
	}
}

func BenchmarkOpen(b *testing.B) {
	r := ring(b, testKey(1))
	binding, now := []byte("acme/ci"), time.Now()
	token := r.Seal("session", binding, make([]byte, 200), time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Open("session", binding, token, now); err != nil {
			b.Fatal(err)
		}
	}
}

func TestBytes(t *testing.T) {
	r, long := ring(t, testKey(1)), bytes.Repeat([]byte("p"), seal.MaxPayload+4096)
	raw := r.SealBytes("bus", []byte("a"), long, time.Minute)
	for name, open := range map[string]func(raw []byte) ([]byte, error){
		"kind":    func(raw []byte) ([]byte, error) { return r.OpenBytes("session", []byte("a"), raw, time.Now()) },
		"binding": func(raw []byte) ([]byte, error) { return r.OpenBytes("bus", []byte("b"), raw, time.Now()) },
		"key": func(raw []byte) ([]byte, error) {
			return ring(t, testKey(2)).OpenBytes("bus", []byte("a"), raw, time.Now())
		},
		"changed": func(raw []byte) ([]byte, error) {
			raw[len(raw)/2]++
			return r.OpenBytes("bus", []byte("a"), raw, time.Now())
		},
		"cut":   func(raw []byte) ([]byte, error) { return r.OpenBytes("bus", []byte("a"), raw[:30], time.Now()) },
		"empty": func([]byte) ([]byte, error) { return r.OpenBytes("bus", []byte("a"), nil, time.Now()) },
	} {
		if _, err := open(bytes.Clone(raw)); !errors.Is(err, seal.ErrInvalid) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := r.OpenBytes("bus", []byte("a"), bytes.Clone(raw), time.Now().Add(time.Hour)); !errors.Is(err, seal.ErrExpired) {
		t.Errorf("an hour later: %v", err)
	}
	rotated := ring(t, testKey(2), testKey(1))
	if got, err := rotated.OpenBytes("bus", []byte("a"), raw, time.Now()); err != nil || !bytes.Equal(got, long) {
		t.Errorf("after a rotation: %d bytes, %v", len(got), err)
	}
}
