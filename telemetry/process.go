package telemetry

import (
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Processes is what runs of the servers with a command at one moment.
type Processes struct {
	// Queued are the calls that wait for an instance, by server. It has every server with a command.
	Queued    map[string]int
	Instances []Instance
}

// Instance is one running copy of a server, with what its processes use.
type Instance struct {
	Server, State    string
	PID              int
	Since            time.Time
	RSS              uint64
	CPU              time.Duration
	Files, Processes int
}

// Processes has the metrics of processes show what read tells at each scrape. It is called once.
func (m *Metrics) Processes(read func() Processes) {
	m.registry.MustRegister(&processes{read: read, spent: map[string]*spending{}})
}

// processes collects when it is scraped: nobody pays for what nobody looks at.
type processes struct {
	read func() Processes

	mu    sync.Mutex
	spent map[string]*spending
}

// spending is the CPU time of a server's instances, those that ended included as far as a scrape saw them.
type spending struct {
	total time.Duration
	of    map[process]time.Duration
}

// process names an instance; process ids are given out again.
type process struct {
	pid   int
	since int64
}

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, append([]string{"server"}, labels...), nil)
}

var (
	instancesDesc = describe("mcp_server_instances", "Running copies of a server.", "state")
	queuedDesc    = describe("mcp_server_queued_calls", "Calls that wait for an instance of a server.")
	countDesc     = describe("mcp_server_processes", "Processes of a server, descendants included.")
	filesDesc     = describe("mcp_server_open_fds", "File descriptors that the processes of a server have open.")
	memoryDesc    = describe("mcp_server_resident_memory_bytes", "Resident memory of the processes of a server.")
	cpuDesc       = describe("mcp_server_cpu_seconds_total", "CPU time of the processes of a server, as far as it was seen before they ended.")
)

// Describe implements prometheus.Collector.
func (*processes) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{instancesDesc, queuedDesc, countDesc, filesDesc, memoryDesc, cpuDesc} {
		ch <- d
	}
}

// sum is what the instances of a server come to.
type sum struct {
	states       map[string]int
	rss          uint64
	files, count int
}

// Collect implements prometheus.Collector.
func (p *processes) Collect(ch chan<- prometheus.Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := p.read()
	sums := make(map[string]*sum, len(now.Queued))
	for server := range now.Queued {
		sums[server] = &sum{states: map[string]int{"ready": 0}}
	}
	for _, in := range now.Instances {
		if s := sums[in.Server]; s != nil {
			s.states[in.State]++
			s.rss += in.RSS
			s.files += in.Files
			s.count += in.Processes
		}
	}
	p.spend(now)
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for server, s := range sums {
		name := label(server)
		for state, n := range s.states {
			gauge(instancesDesc, float64(n), name, label(state))
		}
		gauge(queuedDesc, float64(now.Queued[server]), name)
		gauge(countDesc, float64(s.count), name)
		gauge(filesDesc, float64(s.files), name)
		gauge(memoryDesc, float64(s.rss), name)
		ch <- prometheus.MustNewConstMetric(cpuDesc, prometheus.CounterValue, p.spent[server].total.Seconds(), name)
	}
}

// spend adds what was spent since the last time.
func (p *processes) spend(now Processes) {
	for server := range p.spent {
		if _, there := now.Queued[server]; !there {
			delete(p.spent, server)
		}
	}
	seen := make(map[string]map[process]time.Duration, len(now.Queued))
	for server := range now.Queued {
		seen[server] = map[process]time.Duration{}
		if p.spent[server] == nil {
			p.spent[server] = &spending{}
		}
	}
	for _, in := range now.Instances {
		s := p.spent[in.Server]
		if s == nil || in.PID == 0 {
			continue
		}
		key := process{in.PID, in.Since.UnixNano()}
		s.total += max(0, in.CPU-s.of[key])
		seen[in.Server][key] = max(in.CPU, s.of[key])
	}
	for server, of := range seen {
		p.spent[server].of = of
	}
}

// reasons are those that crashes and refusals are counted by; any other is _other.
var reasons = []string{"exit", "signal", "memory", "pids", "liveness", "start", "write", "queue", "wait"}

func reasonOf(reason string) string {
	if slices.Contains(reasons, reason) {
		return reason
	}
	return other
}

// Started counts a start of a server's process, and how long it took until the server answered.
func (m *Metrics) Started(server string, took time.Duration, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	m.known(server, func(name string) {
		m.starts.WithLabelValues(name, outcome).Inc()
		if err == nil {
			m.startDuration.WithLabelValues(name).Observe(took.Seconds())
		}
	})
}

// Crashed counts an end of a server's process that nobody wanted.
func (m *Metrics) Crashed(server, reason string) {
	m.known(server, func(name string) { m.crashes.WithLabelValues(name, reasonOf(reason)).Inc() })
}

// Refused counts a call that got no instance of a server.
func (m *Metrics) Refused(server, reason string) {
	m.known(server, func(name string) { m.refused.WithLabelValues(name, reasonOf(reason)).Inc() })
}

type shareSeries struct{ queue, start, server, transport prometheus.Observer }

// Shares records where the time of one call went. The series are those of the tool's server.
func (t *Tool) Shares(queue, start, server, transport time.Duration) {
	s := t.server.shares.Load()
	if s == nil {
		if s = t.server.openShares(); s == nil {
			return
		}
	}
	s.queue.Observe(queue.Seconds())
	s.start.Observe(start.Seconds())
	s.server.Observe(server.Seconds())
	s.transport.Observe(transport.Seconds())
}

func (s *server) openShares() *shareSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open := s.shares.Load(); open != nil || s.gone {
		return open
	}
	share := func(name string) prometheus.Observer { return s.metrics.shares.WithLabelValues(s.name, name) }
	open := &shareSeries{queue: share("queue"), start: share("start"), server: share("server"), transport: share("transport")}
	s.shares.Store(open)
	return open
}
