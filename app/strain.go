package app

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"github.com/toolcrib/toolcrib/internal/machine"
	"github.com/toolcrib/toolcrib/telemetry"
)

// strainEvery is how often it is looked how much memory is left, and idleEvery how often while nothing is asked and much of it is.
const (
	strainEvery = 100 * time.Millisecond
	idleEvery   = time.Second
)

// strain watches over how much this replica has to do.
type strain struct {
	has    int64 // bytes of memory that the process may have
	bound  int64 // of memory; 0 for none
	used   atomic.Int64
	most   atomic.Int64
	memory atomic.Int64 // bound, for others
	before int64        // how much was in use when it was looked last, in thousandths
	sample []metrics.Sample
}

// softMemory is GOMEMLIMIT as the process began with it.
var softMemory = sync.OnceValue(func() int64 { return debug.SetMemoryLimit(-1) })

func newStrain() *strain {
	s := &strain{bound: -1}
	s.has = machine.Least(softMemory(), machine.Memory("/"), machine.Installed("/"))
	s.sample = []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	return s
}

// bear has the gateway refuse what is too much, until ctx ends.
func (s *server) bear(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			s.weigh()
			timer.Reset(s.strain.pause(s.gw.UnderWay()))
		}
	}
}

// pause is how long it may be until it is looked again, with so many requests under way.
func (st *strain) pause(under int64) time.Duration {
	if under > 0 || st.before >= 500 {
		return strainEvery
	}
	return idleEvery
}

// weigh tells the gateway what the present configuration lets it take, and how much memory is in use.
func (s *server) weigh() {
	o, st := &s.gw.Plan().Config.Overload, s.strain
	if bound := o.MemoryBound(st.has); bound != st.bound {
		st.bind(bound)
	}
	metrics.Read(st.sample)
	used := int64(st.sample[0].Value.Uint64() - st.sample[1].Value.Uint64())
	st.used.Store(used)
	st.most.Store(o.ConcurrencyBound(st.bound))
	permille := int64(0)
	if st.bound > 0 {
		permille = used / max(st.bound/1000, 1)
	}
	s.gw.Bear(st.most.Load(), st.steady(permille))
}

// steady is how much is in use, in thousandths, but for garbage that is collected before it is looked again.
func (st *strain) steady(now int64) int64 {
	least := min(now, st.before)
	st.before = now
	return least
}

// bind has the collector work more before the bound is near, so that what is in use then is in use.
func (st *strain) bind(bound int64) {
	st.bound = bound
	st.memory.Store(bound)
	soft := softMemory()
	if bound > 0 {
		soft = min(soft, bound/100*80)
	}
	debug.SetMemoryLimit(soft)
}

// loaded is what the metrics of load are made from.
func (s *server) loaded() telemetry.Load {
	return telemetry.Load{
		Requests: s.gw.UnderWay(), MostRequests: s.strain.most.Load(), Memory: s.strain.used.Load(), MostMemory: s.strain.memory.Load(),
	}
}
