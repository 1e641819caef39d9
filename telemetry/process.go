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
	// Pools are how much each of these servers can take.
	Pools map[string]Pool
}

// Pool is how many calls all instances of a server take at once, when there are as many of them as may be, and how many may wait.
type Pool struct{ Capacity, Queue int }

// Instance is one running copy of a server, with what its processes use.
type Instance struct {
	Server, State    string
	PID              int
	Since            time.Time
	RSS              uint64
	CPU              time.Duration
	Files, Processes int
	InFlight         int
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

var (
	instancesDesc = desc("mcp_server_instances")
	queuedDesc    = desc("mcp_server_queued_calls")
	countDesc     = desc("mcp_server_processes")
	filesDesc     = desc("mcp_server_open_fds")
	memoryDesc    = desc("mcp_server_resident_memory_bytes")
	inFlightDesc  = desc("mcp_server_pool_in_flight")
	capacityDesc  = desc("mcp_server_pool_capacity")
	queueDesc     = desc("mcp_server_queue_capacity")
	cpuDesc       = desc("mcp_server_cpu_seconds_total")
)

// Describe implements prometheus.Collector.
func (*processes) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{instancesDesc, queuedDesc, countDesc, filesDesc, memoryDesc, inFlightDesc, capacityDesc, queueDesc, cpuDesc} {
		ch <- d
	}
}

// sum is what the instances of a server come to.
type sum struct {
	states                 map[string]int
	rss                    uint64
	files, count, inFlight int
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
			s.inFlight += in.InFlight
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
		gauge(inFlightDesc, float64(s.inFlight), name)
		if pool, known := now.Pools[server]; known {
			gauge(capacityDesc, float64(pool.Capacity), name)
			gauge(queueDesc, float64(pool.Queue), name)
		}
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
var reasons = []string{"exit", "signal", "memory", "pids", "liveness", "start", "write", "queue", "wait", "breaker", "concurrency"}

func reasonOf(reason string) string {
	if slices.Contains(reasons, reason) {
		return reason
	}
	return other
}

// Started counts a start of a server's process, and how long it took until the server answered.
func (m *Metrics) Started(server string, took time.Duration, err error) {
	outcome := okOutcome
	if err != nil {
		outcome = failedOutcome
	}
	m.known(server, func(name string) {
		m.restarts.WithLabelValues(name) // from 0 on
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

type shareSeries struct{ queue, start, server, transport, in, out prometheus.Histogram }

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
	t.server.metrics.overhead.Observe(transport.Seconds())
}

// Sizes records how long the bodies of one call were. The series are those of the tool's server.
func (t *Tool) Sizes(in, out int) {
	s := t.server.shares.Load()
	if s == nil {
		if s = t.server.openShares(); s == nil {
			return
		}
	}
	s.in.Observe(float64(in))
	s.out.Observe(float64(out))
}

type operationLabels struct{ method, errType, transport string }

// Operation records how long the tool's server took to answer one request. Transport is how it is reached: tcp or pipe.
func (t *Tool) Operation(method, errType, transport string, took time.Duration) {
	key := operationLabels{method, errType, transport}
	o, ok := t.server.operations.get(key)
	if !ok {
		if o = t.server.openOperation(key); o == nil {
			return
		}
	}
	o.Observe(took.Seconds())
}

func (s *server) openOperation(key operationLabels) prometheus.Observer {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gone {
		return nil
	}
	if key.errType != "" {
		key.errType = bounded(s.errorTypes, key.errType, maxErrorTypes)
	}
	return s.operations.add(key, func() prometheus.Observer {
		return s.metrics.clientOperation.WithLabelValues(s.name, label(key.method), key.errType, key.transport)
	})
}

// TaskEnded counts a task of the tool's server that is over; whoever learns so later counts it not again, but for some time only.
func (t *Tool) TaskEnded(id, status string) {
	if t.server.tasks.add(id) {
		ended := t.server.metrics.tasksEnded
		t.server.metrics.known(t.server.name, func(name string) {
			ended.WithLabelValues(name, "failed") // from 0 on
			ended.WithLabelValues(name, status).Inc()
		})
	}
}

// SessionClosed records how long a session lasted that the gateway had at a server.
func (m *Metrics) SessionClosed(server string, lasted time.Duration) {
	m.known(server, func(name string) { m.clientSession.WithLabelValues(name).Observe(lasted.Seconds()) })
}

func (s *server) openShares() *shareSeries {
	s.mu.Lock()
	defer s.mu.Unlock()
	if open := s.shares.Load(); open != nil || s.gone {
		return open
	}
	histogram := func(of *prometheus.HistogramVec, labels ...string) prometheus.Histogram {
		return of.WithLabelValues(labels...).(prometheus.Histogram)
	}
	share := func(name string) prometheus.Histogram { return histogram(s.metrics.shares, s.name, name) }
	open := &shareSeries{
		queue: share("queue"), start: share("start"), server: share("server"), transport: share("transport"),
		in: histogram(s.metrics.requestSize, s.name), out: histogram(s.metrics.responseSize, s.name),
	}
	s.shares.Store(open)
	return open
}
