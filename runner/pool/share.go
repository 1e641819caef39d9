package pool

import (
	"sync"
	"time"
)

// Share are ceilings that pools have in common: for all their instances, and for those of one tenant.
type Share struct {
	mu            sync.Mutex
	total, tenant int // the most
	all           int
	tenants       map[string]int
	pools         map[room]bool // and whether somebody waits for room there
}

// room is a pool as its share sees it.
type room interface {
	poke()
	idlest(tenant string) (since time.Time, ok, ending bool)
	makeRoom(tenant string)
}

// NewShare makes ceilings.
func NewShare(total, perTenant int) *Share {
	return &Share{total: total, tenant: perTenant, tenants: map[string]int{}, pools: map[room]bool{}}
}

// Set changes the ceilings. What is over them stays until it ends.
func (s *Share) Set(total, perTenant int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.total, s.tenant = total, perTenant
	s.tell()
}

// Count is how many instances there are.
func (s *Share) Count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all
}

func (s *Share) most() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

func (s *Share) mostOfTenant() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenant
}

func (s *Share) enter(r room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools[r] = false
}

func (s *Share) leave(r room) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.pools, r)
}

// take counts one more instance; or it tells what is full.
func (s *Share) take(tenant string) lack {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case tenant != "" && s.tenants[tenant] >= s.tenant:
		return lackTenant
	case s.all >= s.total:
		return lackTotal
	}
	s.all++
	s.count(tenant, 1)
	return lackNothing
}

// adopt has a spare count for a tenant.
func (s *Share) adopt(tenant string) lack {
	s.mu.Lock()
	defer s.mu.Unlock()
	if tenant != "" && s.tenants[tenant] >= s.tenant {
		return lackTenant
	}
	s.count(tenant, 1)
	return lackNothing
}

// want records whether somebody waits for room at a pool.
func (s *Share) want(r room, wanted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, in := s.pools[r]; in {
		s.pools[r] = wanted
	}
}

// spare counts one more spare, unless somebody else needs the room.
func (s *Share) spare() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.all >= s.total {
		return false
	}
	for _, wanted := range s.pools {
		if wanted {
			return false
		}
	}
	s.all++
	return true
}

// give counts one instance less.
func (s *Share) give(tenant string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	full := s.all >= s.total || tenant != "" && s.tenants[tenant] >= s.tenant
	s.all--
	s.count(tenant, -1)
	if full {
		s.tell()
	}
}

func (s *Share) count(tenant string, by int) {
	if tenant == "" {
		return
	}
	if s.tenants[tenant] += by; s.tenants[tenant] <= 0 {
		delete(s.tenants, tenant)
	}
}

// tell has all pools look whether somebody can go on.
func (s *Share) tell() {
	for r := range s.pools {
		r.poke()
	}
}

// makeRoom has the instance ended that was unused longest, of a tenant if one is named, in whichever pool it is.
func (s *Share) makeRoom(tenant string) {
	s.mu.Lock()
	pools := make([]room, 0, len(s.pools))
	for r := range s.pools {
		pools = append(pools, r)
	}
	s.mu.Unlock()
	var in room
	var oldest time.Time
	for _, r := range pools {
		since, ok, ending := r.idlest(tenant)
		if ending {
			return // and its room is free soon
		}
		if ok && (in == nil || since.Before(oldest)) {
			in, oldest = r, since
		}
	}
	if in != nil {
		in.makeRoom(tenant)
	}
}

// idlest tells since when the instance is unused that was unused longest, and whether some end now. A spare is not used at all.
func (p *Pool[T]) idlest(tenant string) (since time.Time, ok, ending bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return since, false, false
	}
	if s := p.oldest(tenant); s != nil {
		return s.used, true, p.closing > 0
	}
	return time.Now(), tenant == "" && len(p.spares) > 0, p.closing > 0
}

// makeRoom ends that instance.
func (p *Pool[T]) makeRoom(tenant string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if n := len(p.spares); !p.closed && !p.evict(tenant) && n > 0 && tenant == "" {
		p.endSpare(p.spares[n-1])
		p.spares = p.spares[:n-1]
	}
}
