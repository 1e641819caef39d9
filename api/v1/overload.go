package v1

import (
	"math"
	"strconv"
	"strings"
)

// Overload says from when on this replica refuses requests, with 503 and Retry-After, because it has too much to do.
// Requests of lists, and streams, are refused from 90 % of a bound on, those that can wait from 80 % on. What ends
// requests (cancellations, answers to servers) is still taken.
type Overload struct {
	// Concurrency bounds the requests under way at this replica. Streams that wait for
	// changes do not count. Default: one for each 64Ki of overload.memory, at least 256
	// and at most 20000.
	Concurrency int `json:"concurrency,omitempty" min:"0" max:"1000000"`
	// Memory is the memory from which on requests are refused: a size, or a percentage
	// of what the process may have, which is the least of GOMEMLIMIT, the limit of its
	// cgroup and the memory of the machine. From 80 % of it on more is spent on
	// collecting garbage. off refuses nothing for want of memory.
	Memory string `json:"memory,omitempty" default:"80%" pattern:"^(off|100%|[1-9][0-9]?%|[1-9][0-9]*([kKMG]i?)?B?)$" like:"1% to 100%, a size like 2Gi, or off"`
	// Bulk are the callers and tools whose requests can wait. Clients can say so
	// themselves, with the header Priority: u=4, or up to 7.
	Bulk Bulk `json:"bulk,omitzero"`
}

// Bulk are the callers and tools whose requests can wait: of each list, one that
// fits is enough.
type Bulk struct {
	// Tenants are those all of whose principals are meant.
	Tenants []string `json:"tenants,omitempty" example:"nightly"`
	// Groups are those whose members are meant.
	Groups []string `json:"groups,omitempty" example:"crawlers"`
	// Tools are those whose calls are meant, by the names that they have at /mcp. A *
	// stands for any characters.
	Tools []string `json:"tools,omitempty" example:"reports__*"`
}

// leastMemory is less than the program takes when it does nothing.
const leastMemory = Size(16 << 20)

// MemoryBound is the memory from which on requests are refused, when the process may have that much; 0 for none.
func (o *Overload) MemoryBound(has int64) int64 {
	if share, ok := strings.CutSuffix(o.Memory, "%"); ok {
		percent, _ := strconv.Atoi(share) // by its pattern
		return has / 100 * int64(percent)
	}
	size, _ := parseSize(o.Memory) // off is none
	return size
}

// ConcurrencyBound is how many requests may be under way, when requests are refused from that much memory on.
func (o *Overload) ConcurrencyBound(memory int64) int64 {
	const each, least, most = 64 << 10, 256, 20_000
	switch {
	case o.Concurrency > 0:
		return int64(o.Concurrency)
	case memory <= 0:
		return most
	}
	return min(max(memory/each, least), most)
}

func (k *checker) overload(o *Overload) {
	k.patterns("overload.bulk.tools", o.Bulk.Tools)
	if o.Memory == "" || !strings.ContainsAny(o.Memory, "0123456789") || strings.HasSuffix(o.Memory, "%") {
		return
	}
	switch size, ok := parseSize(o.Memory); {
	case !ok:
		k.fail("overload.memory", "%s is more than %s", clip(o.Memory), strconv.Itoa(math.MaxInt64))
	case Size(size) < leastMemory:
		k.fail("overload.memory", "%s is less than %s, which the program takes when it does nothing; write off to refuse nothing", clip(o.Memory), leastMemory)
	}
}
