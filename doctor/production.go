package doctor

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/internal/evidence"
	"github.com/toolcrib/toolcrib/internal/machine"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// checklist is what an installation of an enterprise is examined by. Each row passes, fails or is not checked, with the evidence.
var checklist = []check{
	{"resources", "the gateway and its servers have limits of memory, CPUs and processes", brief, true, resources},
	{"probes", "somebody looks whether the gateway lives, and whether it is ready", remote, true, probes},
	{"replicas", "more than one replica, which share Redis, a database and keys", brief, true, replicas},
	{"authentication", "every caller has a credential", brief, true, authentication},
	{"grants", "callers may do what a policy permits them, and not everybody may do everything", brief, true, grants},
	{"encryption", "nothing of callers goes over a network in the clear", brief, true, encryption},
	{"registry", "what is started is pinned and approved, and so are the definitions of tools", brief, true, pinned},
	{"isolation", "the gateway and its servers reach what they need, and no more", brief, true, isolation},
	{"audit", "what was done is recorded, and kept elsewhere too", brief, true, recorded},
	{"tracing", "requests are traced", remote, true, tracing},
	{"metrics", "somebody scrapes the metrics", remote, true, scraped},
	{"alerts", "the alerts are loaded", remote, true, alerting},
	{"runbooks", "each alert says where its runbook is", remote, true, runbooks},
	{evidence.Rotation, "keys and credentials were rotated lately", brief, false, drill(evidence.Rotation)},
	{evidence.LoadTest, "what the installation bears was tried lately", brief, false, drill(evidence.LoadTest)},
	{evidence.Failover, "the loss of a replica, of Redis or of the database was tried lately", brief, false, drill(evidence.Failover)},
}

// resources wants limits, of the container or of the control group.
func resources(_ context.Context, p *patient, n *notes) {
	const remedy = "set resources.limits.memory and cpu of the container, or MemoryMax and CPUQuota of systemd"
	if m, err := p.deployed(); err == nil {
		limits := m.container.Resources.Limits
		for _, what := range []string{"memory", "cpu"} {
			if limits[what] == nil {
				n.fail(m.workload.name(), remedy, "its container %s has no limit of %s", m.container.Name, what)
			}
		}
		if n.well() {
			n.pass(m.workload.name(), "memory %v, CPUs %v", limits["memory"], limits["cpu"])
		}
	} else if memory, cpu := machine.Memory(p.root), machine.CPU(p.root); memory > 0 && cpu > 0 {
		n.pass("", "the control group has %s of memory and %s CPUs", v1.Size(memory), v1.CPU(cpu))
	} else if memory > 0 || cpu > 0 {
		n.fail("", remedy, "the control group has a limit of memory or of CPUs, and not of both")
	} else {
		n.skip("", "no limit here, and %v", err)
	}
	for _, name := range p.commands() {
		if s := p.config.MCPServers[name]; s.Resources.Memory == 0 || s.Resources.Pids == 0 {
			n.fail("server "+name, "set mcpServers."+name+".resources: {memory: 512Mi, pids: 64}", "one instance may use all memory or all processes")
		}
	}
}

// commands are the servers that are started.
func (p *patient) commands() (all []string) {
	for _, name := range p.config.ServerNames() {
		if p.config.MCPServers[name].Type == v1.TypeStdio {
			all = append(all, name)
		}
	}
	return all
}

// probes wants those of Kubernetes, and a gateway that answers them.
func probes(ctx context.Context, p *patient, n *notes) {
	m, err := p.deployed()
	if err != nil {
		n.skip("", "%v", err)
	} else {
		for _, want := range []struct {
			key, path, also string
			is              *probe
		}{{"livenessProbe", "/health", "/healthz", m.container.Liveness}, {"readinessProbe", "/health/ready", "/readyz", m.container.Readiness}} {
			switch asks := want.is.asks(); {
			case asks == "":
				n.fail(m.workload.name(), "set "+want.key+": {httpGet: {path: "+want.path+", port: 8080}}", "has no %s", want.key)
			case strings.HasPrefix(asks, "/") && asks != want.path && asks != want.also:
				n.fail(m.workload.name(), "have it ask for "+want.path, "its %s asks for %s", want.key, asks)
			default:
				n.pass(m.workload.name(), "its %s asks %s", want.key, asks)
			}
		}
	}
	p.each(ctx, func(r *control.Report) {
		if state, _, err := p.readiness(ctx, r.URL); err == nil {
			n.pass(r.URL, "answers its probe: %s", state)
		}
	})
}

// each does f for the gateways that run here.
func (p *patient) each(ctx context.Context, f func(*control.Report)) {
	all, err := control.Find(ctx, p.stateDir)
	if err != nil {
		return // which gateways tells
	}
	defer release(all)
	for _, c := range all {
		f(c.Report)
	}
}

// replicas wants more than one, and what they share.
func replicas(_ context.Context, p *patient, n *notes) {
	c := p.config
	for _, lacks := range []struct {
		is           bool
		key, remedy  string
		consequences string
	}{
		{c.Cluster == "", "cluster", "set cluster (TOOLCRIB_CLUSTER) to a Redis", "a second replica could not carry on sessions and questions of this one"},
		{c.Store == "", "store", "set store (TOOLCRIB_STORE) to a PostgreSQL", "keys made with toolcrib keys are known to one replica"},
		{len(c.Seal.Keys) == 0, "seal.keys", "set seal.keys to the same for all: ${file:/etc/toolcrib/seal.keys}", "each replica refuses the sessions of others"},
	} {
		if lacks.is {
			n.fail(lacks.key, lacks.remedy, "is not set: %s", lacks.consequences)
		}
	}
	if n.well() {
		n.pass("", "cluster, store and seal.keys are set, so that any replica serves any client")
	}
	m, err := p.deployed()
	switch {
	case err != nil:
		n.skip("", "how many there are: %v", err)
	case m.workload.Kind == "DaemonSet":
		n.pass(m.workload.name(), "runs on each node")
	case m.replicas < 2:
		n.fail(m.workload.name(), "set replicas, or minReplicas of its HorizontalPodAutoscaler, to 2 or more", "may run once")
	default:
		n.pass(m.workload.name(), "runs %d times at least", m.replicas)
	}
}

// authentication wants that nobody comes without a credential.
func authentication(_ context.Context, p *patient, n *notes) {
	a := &p.config.Auth
	if a.Open() {
		n.fail("auth.anonymous", "set auth.issuers, and leave anonymous out or write deny", "callers need no credential")
		return
	}
	var how []string
	for _, is := range a.Issuers {
		how = append(how, "tokens of "+is.DisplayName())
	}
	if len(a.APIKeys) > 0 {
		how = append(how, count(len(a.APIKeys), "static key"))
	}
	if a.ClientCertificates != nil {
		how = append(how, "client certificates")
	}
	if a.TrustedProxy != nil {
		how = append(how, "a trusted proxy")
	}
	n.pass("", "%s", strings.Join(append(how, "keys of toolcrib keys"), ", "))
	for i := range a.APIKeys {
		if a.APIKeys[i].Expires == "" {
			n.fail("auth.apiKeys "+a.APIKeys[i].Name, "set expires, or make keys with toolcrib keys create --expires", "the key never ends")
		}
	}
}

// grants wants policies, and no binding that gives everything to all.
func grants(_ context.Context, p *patient, n *notes) {
	ps := &p.config.Policies
	if !ps.Any() {
		n.fail("policies", "write policies.roles and policies.bindings", "there are none")
		return
	}
	for i := range ps.Bindings {
		b := &ps.Bindings[i]
		if role := roleOf(ps, b.Role); b.Everyone && (slices.Contains(role.Allow, "*") || len(role.Manage) > 0) {
			n.fail(fmt.Sprintf("policies.bindings[%d]", i), "bind the role to a group", "gives the role %s to everybody", b.Role)
		}
	}
	if n.well() {
		n.pass("", "%s, %s, %s of Cedar policies", count(len(ps.Roles), "role"), count(len(ps.Bindings), "binding"), count(len(ps.Files), "file"))
	}
}

func roleOf(ps *v1.Policies, name string) v1.Role {
	if r, own := ps.Roles[name]; own {
		return r
	}
	return v1.BuiltinRoles()[name]
}

// encryption wants TLS towards clients, Redis and servers.
func encryption(_ context.Context, p *patient, n *notes) {
	c := p.config
	if !p.encrypted(&notes{}, false) {
		n.fail("tls", "set tls.cert and tls.key, or publicURL with https where a proxy does it", "clients speak http")
	} else {
		n.pass("clients", "speak https")
	}
	if a, err := v1.ParseClusterAddress(c.Cluster); err == nil && !a.TLS && !loopbackOnly(a.Hosts) {
		n.fail("cluster", "write rediss:// in cluster", "what replicas tell each other goes in the clear")
	}
	for _, name := range c.ServerNames() {
		if u, err := url.Parse(c.MCPServers[name].URL); err == nil && u.Scheme == "http" && !v1.LoopbackHost(u.Hostname()) {
			n.fail("server "+name, "have it serve https, or have a mesh encrypt", "is spoken to in the clear")
		}
	}
}

// pinned wants that what is started, and what tools say of themselves, is as it was reviewed.
func pinned(_ context.Context, p *patient, n *notes) {
	c := p.config
	if commands := p.commands(); len(commands) > 0 {
		lock, err := launch.ReadLock(c.LockFile())
		if c.Launch.Approval != v1.ApprovalRequired {
			n.fail("launch.approval", "write required, and run toolcrib approve", "whoever can change the file has any program be started")
		} else if err == nil {
			n.pass("launch.approval", "%s in %s", count(len(commands), "command"), c.LockFile())
		}
		for _, name := range commands {
			if ok, why, err := lock.Approved(name, c.MCPServers[name]); c.Launch.Approval == v1.ApprovalRequired && (err != nil || !ok) {
				n.fail("server "+name, "review it with toolcrib approve", "%s", why)
			}
		}
	}
	for _, name := range c.ServerNames() {
		pin := c.Pin
		if own := c.MCPServers[name].Pin; own != "" {
			pin = own
		}
		if pin == "off" {
			n.fail("server "+name, "set pin: strict, and run toolcrib approve", "its tools may become others unseen")
		}
	}
	if n.well() {
		n.pass("pin", "definitions of tools are pinned")
	}
}

// isolation wants a NetworkPolicy, and servers in a sandbox.
func isolation(_ context.Context, p *patient, n *notes) {
	m, err := p.deployed()
	switch {
	case err != nil:
		n.skip("", "NetworkPolicies: %v", err)
	case len(m.policies) == 0:
		n.fail(m.workload.name(), "write a NetworkPolicy for its pods, of ingress and egress", "no NetworkPolicy selects its pods")
	default:
		m.bounded(n)
	}
	for _, name := range p.commands() {
		if box := p.config.MCPServers[name].Sandbox; box != nil {
			n.pass("server "+name, "in a sandbox, network %s", box.Network)
			continue
		}
		n.fail("server "+name, "set mcpServers."+name+".sandbox, such as {read: [/data], network: none}", "has no sandbox: it reaches what the gateway does")
	}
}

// bounded wants that what comes to the pods, and where they get to, is named.
func (m *manifests) bounded(n *notes) {
	for _, direction := range []string{"Ingress", "Egress"} {
		var names []string
		open := ""
		for _, o := range m.policies {
			does, all := o.bounds(direction)
			if does {
				names = append(names, o.Metadata.Name)
			}
			if all {
				open = o.Metadata.Name
			}
		}
		switch what := strings.ToLower(direction); {
		case len(names) == 0:
			n.fail(m.workload.name(), "add "+direction+" to policyTypes, and rules of "+what+" for what it needs: issuers, servers, Redis, the database, DNS",
				"no NetworkPolicy of its pods bounds %s", what)
		case open != "":
			n.fail("NetworkPolicy "+open, "name in "+what+" who is meant, or the ports", "a rule of it lets all %s through", what)
		default:
			n.pass(m.workload.name(), "NetworkPolicy %s, of %s", strings.Join(names, ", "), what)
		}
	}
}

// recorded wants an audit log, and one that outlives the machine.
func recorded(_ context.Context, p *patient, n *notes) {
	a := &p.config.Audit
	if a.Sinks != nil && len(a.Sinks) == 0 || a.Sinks == nil && !p.config.Auth.Configured() {
		n.fail("audit.sinks", "write [{file: audit.jsonl}], and a sink elsewhere", "nothing is recorded")
		return
	}
	var elsewhere []string
	for i := range a.Sinks {
		if kind := a.Sinks[i].Kind(); kind != "file" && kind != "sqlite" {
			elsewhere = append(elsewhere, kind)
		}
	}
	if len(elsewhere) == 0 {
		n.fail("audit.sinks", "add a sink: otlp, syslog, webhook or postgres", "records are on this machine alone")
		return
	}
	n.pass("", "records go to %s too", strings.Join(elsewhere, ", "))
}

// tracing wants traces, and a collector that is there.
func tracing(ctx context.Context, p *patient, n *notes) {
	if !p.config.Telemetry.On() {
		n.fail("telemetry.traces.endpoint", "set it, or OTEL_EXPORTER_OTLP_ENDPOINT, to a collector", "no traces are sent")
		return
	}
	collected(ctx, p, n)
}

const (
	day = 24 * time.Hour
	// lately is how old the evidence of a drill may be.
	lately = 90 * day
)

// drill wants the record of a drill, and that it is not old.
func drill(name string) func(context.Context, *patient, *notes) {
	remedy := "do it, and record it: toolcrib doctor FILE --record " + name + ` --result "pass: …"`
	if name == evidence.LoadTest {
		remedy = "run toolcrib bench with --p99 TIME and --max-errors PERCENT, which records it"
	}
	return func(_ context.Context, p *patient, n *notes) {
		if p.stateDir == "" {
			n.skip("", "the configuration cannot be read")
			return
		}
		r, err := evidence.Read(p.stateDir, name)
		at := r.At.UTC().Format(time.DateOnly)
		switch {
		case missing(err):
			n.fail("", remedy, "%s is not there: nobody says that it was done", evidence.Path(p.stateDir, name))
		case err != nil:
			n.told(Fail, "", err.Error(), remedy)
		case p.now().Add(day).Before(r.At):
			n.fail("", remedy, "the record is of %s, which is to come", at)
		case !evidence.Judges(r.Result):
			n.fail("", remedy, "on %s by %s, and the record does not say that it went well: %s", at, r.By, r.Result)
		case !r.Well():
			n.fail("", "mend what it found, and do it again", "on %s by %s: %s", at, r.By, r.Result)
		case p.now().Sub(r.At) > lately:
			n.fail("", remedy, "was on %s by %s, more than %s ago: %s", at, r.By, count(int(lately/day), "day"), r.Result)
		default:
			n.pass("", "on %s by %s: %s", at, r.By, r.Result)
		}
	}
}
