package identity

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-jose/go-jose/v4"
)

const (
	keysMost     = 200              // keys of an issuer that are kept
	freshLeast   = 30 * time.Second // between two fetches that nothing but time asks for
	freshMost    = 15 * time.Minute
	fresh        = 5 * time.Minute  // where the issuer does not say
	metadataKept = time.Hour        // its metadata
	unknownEvery = 10 * time.Second // between two fetches that unknown keys ask for
	failedEvery  = 2 * time.Second  // between two that fail
)

// origin is what tells sources apart: configurations with the same one share what is known of the issuer.
type origin struct{ issuer, jwks, ca string }

// source is an issuer's keys and metadata, as far as they are known. They are fetched again when they are used and no longer
// fresh, in the background; while the issuer is away, those that are known stay.
type source struct {
	origin
	a     *Authenticator
	fetch *fetcher
	known atomic.Pointer[keySet]
	due   atomic.Int64 // when keys are fetched again, in Unix nanoseconds

	mu       sync.Mutex
	running  chan struct{} // closed when the fetch under way ends; nil when there is none
	began    time.Time     // the last fetch
	asked    time.Time     // of the last fetch that an unknown key asked for
	err      error         // of the last fetch
	trouble  trouble
	finding  chan struct{} // as running, of metadata
	provider *provider
	read     time.Time // when the metadata were
	sought   time.Time // when they could not be, with lacking
	lacking  error     // why; nil once they could
}

// keySet are the keys of an issuer at one time.
type keySet struct {
	all   []*key
	byKid map[string][]*key
}

// key is a public key of an issuer.
type key struct {
	mark   string // tells it from all others
	kid    string
	alg    string // that it is for; empty for any
	public crypto.PublicKey
	gone   atomic.Bool // the issuer has it no more
}

func newSource(a *Authenticator, o origin) (*source, error) {
	f, err := newFetcher(o.ca)
	if err != nil {
		return nil, err
	}
	return &source{origin: o, a: a, fetch: f}, nil
}

// refresh fetches in the background what is no longer fresh.
func (s *source) refresh() {
	if now := s.a.now(); now.UnixNano() >= s.due.Load() {
		s.start(freshLeast)
	}
}

// start begins a fetch unless the last one began less than every ago; it returns what is closed when the one under way ends, nil
// when there is none.
func (s *source) start(every time.Duration) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return s.running
	}
	if s.err != nil {
		every = min(every, failedEvery)
	}
	if now := s.a.now(); !s.began.IsZero() && now.Sub(s.began) < every || s.a.ctx.Err() != nil {
		return nil
	}
	return s.begin()
}

// startForUnknown is start for a key that is not known. Such fetches have an interval of their own: the last fetch may have been
// a moment before the issuer got the key.
func (s *source) startForUnknown() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.running != nil {
		return s.running
	}
	now := s.a.now()
	if !s.asked.IsZero() && now.Sub(s.asked) < unknownEvery || s.err != nil && now.Sub(s.began) < failedEvery || s.a.ctx.Err() != nil {
		return nil
	}
	s.asked = now
	return s.begin()
}

// begin begins a fetch; the caller holds the lock.
func (s *source) begin() <-chan struct{} {
	s.began = s.a.now()
	done := make(chan struct{})
	s.running = done
	if !s.a.background(func() {
		defer close(done)
		s.load()
	}) {
		s.running = nil
		return nil
	}
	return done
}

// settle waits for keys that are current, where those that are known are far from it, or there are none.
func (s *source) settle(ctx context.Context) {
	if s.known.Load() == nil || s.a.now().UnixNano()-s.due.Load() > int64(freshMost) {
		await(ctx, s.start(freshLeast))
		return
	}
	s.refresh()
}

// await waits for what is under way.
func await(ctx context.Context, done <-chan struct{}) {
	if done == nil {
		return
	}
	select {
	case <-done:
	case <-ctx.Done():
	}
}

// candidates are the keys that may have made a signature. A key that is not known is asked for, at most now and then.
func (s *source) candidates(ctx context.Context, kid, alg string) ([]*key, error) {
	s.settle(ctx)
	found := s.fitting(kid, alg)
	for range 2 { // a fetch that is under way may have begun before the issuer got the key
		if len(found) > 0 || s.known.Load() == nil {
			break
		}
		await(ctx, s.startForUnknown())
		found = s.fitting(kid, alg)
	}
	if len(found) == 0 && (s.known.Load() == nil || s.failing()) {
		return nil, errKeysAway // it may have the key by now
	}
	return found, nil
}

// failing tells whether the last fetch failed.
func (s *source) failing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err != nil
}

var (
	errKeysAway  = errors.New("the keys of the issuer cannot be had now")
	errSearching = errors.New("its metadata are not here yet")
)

// triesMost is how many keys a signature is tried with that does not name its key.
const triesMost = 4

func (s *source) fitting(kid, alg string) []*key {
	set := s.known.Load()
	if set == nil {
		return nil
	}
	of := set.all
	if kid != "" {
		of = set.byKid[kid]
	}
	var found []*key
	for _, k := range of {
		if k.fits(alg) && len(found) < triesMost {
			found = append(found, k)
		}
	}
	return found
}

// load fetches metadata and keys.
func (s *source) load() {
	ctx, cancel := context.WithTimeout(s.a.ctx, 2*fetchTime)
	defer cancel()
	keys, after, err := s.keys(ctx)
	now := s.a.now()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.running = nil
	changed := (err == nil) != (s.err == nil)
	s.err = err
	s.trouble.note(err)
	if err != nil {
		s.due.Store(now.Add(failedEvery).UnixNano())
		if (changed || s.known.Load() == nil) && s.a.ctx.Err() == nil {
			s.a.log.Warn("keys of an issuer cannot be had; those that are known stay", "issuer", s.issuer, "error", err)
		}
		return
	}
	if changed {
		s.a.log.Info("keys of the issuer are here again", "issuer", s.issuer, "keys", len(keys))
	}
	s.due.Store(now.Add(after).UnixNano())
	s.known.Store(s.merge(keys))
}

// keys are the keys that the issuer has now, and how long they count as fresh.
func (s *source) keys(ctx context.Context) ([]*key, time.Duration, error) {
	at := s.jwks
	if at == "" {
		p, err := s.metadata(ctx)
		if err != nil {
			return nil, 0, err
		}
		if at = p.JWKS; at == "" {
			return nil, 0, errors.New("its metadata name no jwks_uri; set jwks")
		}
	}
	var doc struct {
		Keys []json.RawMessage `json:"keys"`
	}
	header, err := s.fetch.get(ctx, at, &doc)
	if err != nil {
		return nil, 0, err
	}
	keys := readKeys(doc.Keys, s.a.log)
	if len(keys) == 0 {
		return nil, 0, fmt.Errorf("%s has no key that signatures can be verified with", at)
	}
	return keys, freshFor(header.Get("Cache-Control")), nil
}

// freshFor is how long an answer may be used, within bounds (RFC 9111 section 5.2.2.1).
func freshFor(control string) time.Duration {
	for directive := range strings.SplitSeq(control, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(directive), "=")
		if n, err := strconv.ParseUint(strings.Trim(value, `"`), 10, 31); err == nil && strings.EqualFold(name, "max-age") {
			return min(max(time.Duration(n)*time.Second, freshLeast), freshMost)
		}
	}
	return fresh
}

// readKeys takes the keys that signatures can be verified with; what is of no use does no harm.
func readKeys(raw []json.RawMessage, log *slog.Logger) []*key {
	var keys []*key
	for _, r := range raw[:min(len(raw), keysMost)] {
		var j jose.JSONWebKey
		if j.UnmarshalJSON(r) != nil || j.Use != "" && j.Use != "sig" || !strong(j.Key) {
			continue
		}
		thumb, err := j.Thumbprint(crypto.SHA256)
		if err != nil {
			continue
		}
		keys = append(keys, &key{mark: string(thumb) + j.Algorithm + " " + j.KeyID, kid: j.KeyID, alg: j.Algorithm, public: j.Key})
	}
	if len(raw) > keysMost {
		log.Warn("an issuer has too many keys; those beyond the bound are not used", "keys", len(raw), "most", keysMost)
	}
	return keys
}

// strong tells whether a key is a public one whose signatures are worth something, and cost no more to verify than is fair.
func strong(public crypto.PublicKey) bool {
	switch k := public.(type) {
	case *rsa.PublicKey:
		return k.N.BitLen() >= 2048 && k.N.BitLen() <= 8192 && k.E >= 3
	case *ecdsa.PublicKey:
		return k.Curve == elliptic.P256() || k.Curve == elliptic.P384() || k.Curve == elliptic.P521()
	case ed25519.PublicKey:
		return len(k) == ed25519.PublicKeySize
	}
	return false
}

// merge makes the set of these keys, with those that are known already as they are; those that are not among them are gone.
func (s *source) merge(keys []*key) *keySet {
	set := &keySet{byKid: make(map[string][]*key, len(keys))}
	known := map[string]*key{}
	if was := s.known.Load(); was != nil {
		for _, k := range was.all {
			known[k.mark] = k
		}
	}
	for _, k := range keys {
		if same := known[k.mark]; same != nil {
			k = same
			delete(known, k.mark)
		}
		set.all = append(set.all, k)
		set.byKid[k.kid] = append(set.byKid[k.kid], k)
	}
	for _, k := range known {
		k.gone.Store(true)
	}
	return set
}

// fits tells whether a key may have made a signature by an algorithm.
func (k *key) fits(alg string) bool {
	if k.alg != "" && k.alg != alg {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return alg[:2] == "RS" || alg[:2] == "PS"
	case *ecdsa.PublicKey:
		return alg == map[elliptic.Curve]string{elliptic.P256(): "ES256", elliptic.P384(): "ES384", elliptic.P521(): "ES512"}[public.Curve]
	case ed25519.PublicKey:
		return alg == "EdDSA"
	}
	return false
}
