package doctor

import (
	"context"
	"net"
	"strconv"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/machine"
)

const (
	filesLeast, filesFew = 256, 4096 // open files; two are needed for each call
	memoryLeast          = 64 << 20  // bytes
	memorySmall          = 128 << 20
	cpuSmall             = 250 // thousandths
	pidsSmall            = 64
	pidsEach             = 16 // of the gateway itself, and of each process with its threads
	each                 = 64 << 10
)

// limits looks at what the process may have.
func limits(_ context.Context, p *patient, n *notes) {
	open := p.openFiles()
	switch {
	case open == 0:
	case open < filesLeast:
		n.fail("ulimit -n", "raise it: LimitNOFILE=65536 of systemd, or ulimit -n 65536", "only %d files may be open; each call takes two", open)
	case open < filesFew:
		n.warn("ulimit -n", "raise it: LimitNOFILE=65536 of systemd, or ulimit -n 65536",
			"only %d files may be open, so that no more than %d calls and streams can be at once", open, open/2)
	}
	memory, cpu := machine.Memory(p.root), machine.CPU(p.root)
	p.memory(n, memory)
	if cpu > 0 && cpu < cpuSmall {
		n.warn("cgroup cpu", "give it half a CPU at least", "%s CPUs are too few: the process stands still for most of each tenth of a second", v1.CPU(cpu))
	}
	pids := machine.Pids(p.root)
	p.pids(n, pids)
	if n.well() {
		n.pass("", "%d open files, memory %s, CPUs %s, processes %s", open, bound(memory > 0, v1.Size(memory).String()), bound(cpu > 0, v1.CPU(cpu).String()),
			bound(pids > 0, strconv.FormatInt(pids, 10)))
	}
}

func bound(is bool, text string) string {
	if is {
		return text
	}
	return "unbounded"
}

// memory compares what there is with what the configuration says of it.
func (p *patient) memory(n *notes, limit int64) {
	const about = "cgroup memory"
	switch {
	case limit > 0 && limit < memoryLeast:
		n.fail(about, "give it 256Mi at least", "%s is less than the program needs under load", v1.Size(limit))
	case limit > 0 && limit < memorySmall:
		n.warn(about, "give it 256Mi at least", "%s is little", v1.Size(limit))
	}
	has := machine.Least(limit, machine.Installed(p.root))
	if p.config == nil || has == 0 {
		return
	}
	o := &p.config.Overload
	refuses := o.MemoryBound(has)
	switch {
	case refuses >= has && !strings.HasSuffix(o.Memory, "%"):
		n.fail("overload.memory", "write a share, such as 80%",
			"is %s, and the process has only %s: it is killed before it refuses anything", o.Memory, v1.Size(has))
	case refuses == 0 && limit > 0:
		n.warn("overload.memory", "write a share, such as 80%", "is off, so that the process is killed when it needs more than the %s it has", v1.Size(limit))
	}
	if refuses > 0 && int64(o.Concurrency) > has/each {
		n.warn("overload.concurrency", "lower it, or leave it out",
			"is %d, for which the %s of memory are too little; %d would do", o.Concurrency, v1.Size(has), has/each)
	}
	for _, name := range p.config.ServerNames() {
		if r := p.config.MCPServers[name].Resources.Memory; limit > 0 && int64(r) >= limit {
			n.warn("mcpServers."+name+".resources.memory", "lower it, or raise the limit of the container",
				"is %s, and the gateway and its servers have %s together: the kernel kills at that one first", r, v1.Size(limit))
		}
	}
}

// pids compares how many processes there may be with how many servers start.
func (p *patient) pids(n *notes, limit int64) {
	if limit == 0 || p.config == nil {
		return
	}
	instances := int64(0)
	for _, name := range p.config.ServerNames() {
		if p.config.MCPServers[name].Type == v1.TypeStdio {
			pool := p.config.PoolOf(name)
			instances += int64(max(pool.Min, 1) + pool.Spares)
		}
	}
	if need := pidsEach * (1 + instances); limit < max(need, pidsSmall) {
		n.warn("cgroup pids", "raise it", "%d processes and threads are allowed, and %s and the gateway need about %d",
			limit, count(int(instances), "instance"), max(need, pidsSmall))
	}
}

// clocks looks at the clock of this machine. How it differs from others is told with those.
func clocks(_ context.Context, p *patient, n *notes) {
	now := p.now()
	switch {
	case now.Year() < 2026:
		n.fail("", "set it by NTP", "it is %s here: tokens and certificates are judged by a clock that is wrong", now.UTC().Format(time.RFC3339))
	case unsynchronised():
		n.skip("", "%s; the kernel does not know whether it is kept right", now.UTC().Format(time.RFC3339))
	default:
		n.pass("", "%s", now.UTC().Format(time.RFC3339))
	}
}

// podGrace is what Kubernetes gives a pod to end unless it is told otherwise.
const podGrace = 30 * time.Second

// stopping looks whether calls can finish when the gateway is told to end.
func stopping(_ context.Context, p *patient, n *notes) {
	c := p.config
	host, _, _ := net.SplitHostPort(c.Listen)
	local, delay := v1.LoopbackHost(host), 5*time.Second
	if c.DrainDelay != nil {
		delay = time.Duration(*c.DrainDelay)
	} else if local {
		delay = 0
	}
	need := delay + time.Duration(c.DrainTimeout)
	if !local && delay == 0 {
		n.warn("drainDelay", "leave it out, or write 5s", "is 0s: balancers send calls here still when the port is closed already")
	}
	grace, where := p.grace()
	switch {
	case grace > 0 && need >= grace:
		n.fail(where, "set terminationGracePeriodSeconds to "+wholeSeconds(need+5*time.Second)+", or shorten drainTimeout",
			"%v until the pod is killed, but drainDelay and drainTimeout take %v: calls are cut off", grace, need)
	case grace == 0 && p.getenv("KUBERNETES_SERVICE_HOST") != "" && need >= podGrace:
		n.skip("", "a pod has %v unless its terminationGracePeriodSeconds says more, and %v are needed; --manifests looks", podGrace, need)
	case n.well():
		n.pass("", "stops within %v", need)
	}
}
