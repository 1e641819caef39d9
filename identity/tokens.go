package identity

import (
	"hash/maphash"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// tokens are the tokens that were verified, by a hash that has a seed of its own: seeing one again costs a look-up. They are kept
// in two generations, the older of which is dropped when the younger is full.
type tokens struct {
	seed   maphash.Seed
	shards [tokenShards]tokenShard
}

func newTokens() *tokens { return &tokens{seed: maphash.MakeSeed()} }

const (
	tokenShards = 16
	tokenWeight = 1024    // of a generation of a shard, in tokenUnit
	tokenUnit   = 1 << 10 // bytes of token
)

type tokenShard struct {
	mu         sync.RWMutex
	young, old map[uint64]*known
	weight     int // of young
}

// known is a token that was verified once. What of it can change is in standing.
type known struct {
	token    string // to verify it again by another configuration
	digest   digest
	issuer   *issuer
	key      *key   // that it is signed by; nil for an opaque one
	typ, alg string // of a JWT
	claims   claims // that it was found to have first
	standing atomic.Pointer[standing]
	passed   atomic.Pointer[[]place] // where its audience was found to be right
	asking   atomic.Bool             // its issuer is asked about it in the background
}

// standing is what a token stands for at one time.
type standing struct {
	principal *Principal
	err       error    // why it stands for nobody any more
	lacks     []string // scopes that every token must have
	audience  []string
	asked     time.Time // when the issuer was asked about it; zero for never
	until     time.Time // when it is to be asked again; zero for never
}

// place is an endpoint as somebody asked for it.
type place struct {
	host, path   string
	secure, near bool
}

func placeOf(r *Request) place { return place{r.Host, r.Path, r.TLS != nil, r.near()} }

// shard is where a token is kept, and its hash.
func (t *tokens) shard(token string) (*tokenShard, uint64) {
	h := maphash.String(t.seed, token)
	return &t.shards[h>>32%tokenShards], h
}

// find is what is known of a token; nil where it was not seen, or not for long.
func (t *tokens) find(token string) *known {
	s, h := t.shard(token)
	s.mu.RLock()
	k, young := s.young[h], true
	if k == nil {
		k, young = s.old[h], false
	}
	s.mu.RUnlock()
	if k == nil || k.token != token {
		return nil
	}
	if !young {
		t.add(k) // it is in use, so that it stays
	}
	return k
}

// shown is the token of a header value as nearly all send it, if it is known: what is well-formed was looked at then.
func (t *tokens) shown(value string) *known {
	const scheme = "Bearer "
	if len(value) <= len(scheme) || value[:len(scheme)] != scheme {
		return nil
	}
	return t.find(value[len(scheme):])
}

// add keeps a token.
func (t *tokens) add(k *known) {
	s, h := t.shard(k.token)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.young == nil || s.weight >= tokenWeight {
		s.old, s.young, s.weight = s.young, map[uint64]*known{}, 0
	}
	if s.young[h] == nil {
		s.weight += 1 + len(k.token)/tokenUnit
	}
	s.young[h] = k
}

// placesMost are how many places of a token are remembered.
const placesMost = 8

// hasPassed tells whether the token was found to be for the place.
func (k *known) hasPassed(at place) bool {
	passed := k.passed.Load()
	if passed == nil {
		return false
	}
	for i := range *passed {
		if (*passed)[i] == at {
			return true
		}
	}
	return false
}

// pass remembers that it is.
func (k *known) pass(at place) {
	var next []place
	if was := k.passed.Load(); was != nil {
		next = append(next, (*was)[max(0, len(*was)-placesMost+1):]...)
	}
	at.host, at.path = strings.Clone(at.host), strings.Clone(at.path) // not all of the request that they came with
	next = append(next, at)
	k.passed.Store(&next) // of two at once one is forgotten, and found again
}
