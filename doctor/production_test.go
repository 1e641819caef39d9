package doctor_test

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/doctor"
	"github.com/toolcrib/toolcrib/internal/evidence"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/telemetry/alerts"
)

const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  replicas: 3
  template:
    metadata: {labels: {app: gateway}}
    spec:
      terminationGracePeriodSeconds: 60
      containers:
      - name: main
        image: ghcr.io/toolcrib/toolcrib:1
        resources: {limits: {memory: 1Gi, cpu: "2"}}
        livenessProbe: {httpGet: {path: /health, port: 8080}}
        readinessProbe: {httpGet: {path: /health/ready, port: 8080}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: gateway-only}
spec:
  podSelector: {matchLabels: {app: gateway}}
  policyTypes: [Ingress, Egress]
  ingress: [{from: [{namespaceSelector: {matchLabels: {team: edge}}}], ports: [{port: 8080}]}]
  egress: [{ports: [{port: 53, protocol: UDP}]}, {to: [{ipBlock: {cidr: 10.0.0.0/8}}]}]
`

const autoscaler = `---
apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: gateway}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: gateway}
`

// watcher is a Prometheus with these alerts, and with metrics or none.
func watcher(t *testing.T, names []string, runbook string, metrics bool) string {
	t.Helper()
	var rules []any
	for _, name := range names {
		rules = append(rules, map[string]any{"name": name, "type": "alerting", "health": "ok", "annotations": map[string]any{"runbook_url": runbook}})
	}
	result := []any{}
	if metrics {
		result = append(result, map[string]any{"metric": map[string]any{}, "value": []any{1, "1"}})
	}
	return answering(t, func(w http.ResponseWriter, r *http.Request) {
		data := map[string]any{"groups": []any{map[string]any{"name": "toolcrib", "rules": rules}}}
		if strings.HasSuffix(r.URL.Path, "/query") {
			data = map[string]any{"resultType": "vector", "result": result}
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data})
	})
}

// enterprise is an installation that fulfils the checklist.
func enterprise(t *testing.T, parts *parts) *installation {
	t.Helper()
	in := healthy(t, parts)
	in.o.Production = true
	in.o.Manifests = in.write("deploy/all.yaml", deployment, 0o600)
	in.o.Prometheus = watcher(t, alerts.Names(), "https://wiki.test/runbooks", true)
	key := map[string]any{"name": "ci", "key": "${file:api.key}", "groups": []any{"staff"}, "expires": time.Now().Add(1000 * time.Hour).UTC().Format(time.RFC3339)}
	in.set([]any{key}, "auth", "apiKeys")
	in.config["pin"] = "strict"
	in.set([]any{map[string]any{"file": "audit.jsonl"}, map[string]any{"syslog": "udp://127.0.0.1:9"}}, "audit", "sinks")
	delete(in.config["mcpServers"].(map[string]any), "files")
	in.set([]any{"modern__*"}, "policies", "roles", "finder", "allow")
	for _, name := range evidence.Names() {
		in.record(name, time.Now().Add(-24*time.Hour), "pass: as it should be")
	}
	return in
}

func (in *installation) record(name string, at time.Time, result string) {
	in.t.Helper()
	if err := evidence.Write(in.state(), name, evidence.Record{At: at, By: "tester", Result: result}); err != nil {
		in.t.Fatal(err)
	}
}

// deploy has the manifests be others: pairs of what is replaced and by what.
func (in *installation) deploy(pairs ...string) {
	in.t.Helper()
	in.o.Manifests = in.write("deploy/all.yaml", strings.NewReplacer(pairs...).Replace(deployment), 0o600)
}

// starts adds a server that is started.
func (in *installation) starts(more map[string]any) {
	entry := map[string]any{"command": "/bin/true"}
	maps.Copy(entry, more)
	in.set(entry, "mcpServers", "local")
}

// testChecklist passes each row of the checklist where all is done, and fails it where something is not.
func testChecklist(t *testing.T, parts *parts) {
	in := enterprise(t, parts)
	found := in.examine()
	for _, c := range doctor.Checks(true) {
		if !slices.ContainsFunc(found, func(f doctor.Finding) bool { return f.Check == c.Name && f.Status == doctor.Pass }) {
			t.Errorf("%s does not pass", c.Name)
		}
	}
	if i := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Status != doctor.Pass }); i >= 0 {
		t.Errorf("%+v in:\n%s", found[i], show(found))
	}
	discreet(t, show(found))
	for name, f := range lacks {
		t.Run(name, func(t *testing.T) {
			in := enterprise(t, parts)
			in.o.Only = []string{f.check}
			f.plant(in)
			in.named(f)
		})
	}
}

// TestProbePaths: what doctor has probes ask for is there.
func TestProbePaths(t *testing.T) {
	for _, path := range []string{"/health", "/healthz", "/health/ready", "/readyz"} {
		if !slices.ContainsFunc(app.Routes(), func(r app.Route) bool { return r.Pattern == "GET "+path && r.Access == app.Public }) {
			t.Errorf("the gateway does not serve %s to everybody", path)
		}
	}
}

// lacks are things that an enterprise wants, and that are not there.
var lacks = map[string]fault{
	"a container without limits": {
		func(in *installation) { in.o.Manifests = in.write("deploy/bare.yaml", manifest, 0o600) },
		"resources", doctor.Fail, "Deployment gateway: its container main has no limit of memory", "resources.limits",
	},
	"a container without a limit of CPUs": {
		func(in *installation) {
			in.o.Manifests = in.write("deploy/all.yaml", strings.Replace(deployment, `, cpu: "2"`, "", 1), 0o600)
		}, "resources", doctor.Fail, "its container main has no limit of cpu", "resources.limits",
	},
	"a server without limits": {
		func(in *installation) { in.starts(nil) }, "resources", doctor.Fail, "server local: one instance may use all memory", "pids: 64",
	},
	"no manifests": {
		func(in *installation) { in.o.Manifests = "" }, "probes", doctor.Unchecked, "--manifests names none", "",
	},
	"templates": {
		func(in *installation) {
			in.o.Manifests = in.write("deploy/t.yaml", "a: {{ .Values.x }}\n{{ end }}", 0o600)
		}, "probes", doctor.Unchecked, "render templates first", "",
	},
	"no probes": {
		func(in *installation) { in.o.Manifests = in.write("deploy/bare.yaml", manifest, 0o600) }, "probes", doctor.Fail, "has no livenessProbe", "/health",
	},
	"a probe of another path": {
		func(in *installation) {
			in.o.Manifests = in.write("deploy/all.yaml", strings.Replace(deployment, "/health/ready", "/", 1), 0o600)
		}, "probes", doctor.Fail, "its readinessProbe asks for /", "/health/ready",
	},
	"a probe that nothing answers": {
		func(in *installation) {
			in.o.Manifests = in.write("deploy/all.yaml", strings.Replace(deployment, "path: /health,", "path: /health/live,", 1), 0o600)
		}, "probes", doctor.Fail, "its livenessProbe asks for /health/live", "have it ask for /health",
	},
	"one replica": {
		func(in *installation) { in.o.Manifests = in.write("deploy/bare.yaml", manifest, 0o600) }, "replicas", doctor.Fail, "may run once", "minReplicas",
	},
	"an autoscaler that goes down to one": {
		func(in *installation) { in.o.Manifests = in.write("deploy/all.yaml", deployment+autoscaler, 0o600) },
		"replicas", doctor.Fail, "may run once", "minReplicas",
	},
	"replicas by an autoscaler": {
		func(in *installation) {
			in.o.Manifests = in.write("deploy/all.yaml", strings.Replace(deployment, "  replicas: 3\n", "", 1)+autoscaler+"  minReplicas: 4\n", 0o600)
		}, "replicas", doctor.Pass, "runs 4 times at least", "",
	},
	"nothing shared": {
		func(in *installation) { delete(in.config, "cluster") }, "replicas", doctor.Fail, "cluster: is not set", "Redis",
	},
	"callers without a credential": {
		func(in *installation) { in.set("allow", "auth", "anonymous") }, "authentication", doctor.Fail, "callers need no credential", "auth.issuers",
	},
	"a key without an end": {
		func(in *installation) {
			in.set([]any{map[string]any{"name": "ci", "key": "${file:api.key}"}}, "auth", "apiKeys")
		}, "authentication", doctor.Fail, "auth.apiKeys ci: the key never ends", "expires",
	},
	"no policies": {
		func(in *installation) { delete(in.config, "policies") }, "grants", doctor.Fail, "there are none", "policies.bindings",
	},
	"everything for everybody": {
		func(in *installation) {
			in.set([]any{map[string]any{"everyone": true, "role": "user"}}, "policies", "bindings")
		},
		"grants", doctor.Fail, "gives the role user to everybody", "to a group",
	},
	"http": {
		func(in *installation) { delete(in.config, "tls"); delete(in.config, "publicURL") }, "encryption", doctor.Fail, "clients speak http", "tls.cert",
	},
	"a server in the clear": {
		func(in *installation) {
			in.set(map[string]any{"url": "http://search.internal/mcp"}, "mcpServers", "search")
		},
		"encryption", doctor.Fail, "server search: is spoken to in the clear", "https",
	},
	"commands that nobody approved": {
		func(in *installation) { in.starts(nil) }, "registry", doctor.Fail, "launch.approval: whoever can change the file", "toolcrib approve",
	},
	"tools that are not pinned": {
		func(in *installation) { delete(in.config, "pin") }, "registry", doctor.Fail, "server modern: its tools may become others", "pin: strict",
	},
	"no NetworkPolicy": {
		func(in *installation) { in.o.Manifests = in.write("deploy/bare.yaml", manifest, 0o600) }, "isolation", doctor.Fail, "no NetworkPolicy selects its pods", "write a NetworkPolicy",
	},
	"a NetworkPolicy of all others": {
		func(in *installation) {
			in.o.Manifests = in.write("deploy/others.yaml", manifest+"---\nkind: NetworkPolicy\nmetadata: {name: others}\nspec:\n"+
				"  podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [gateway]}]}\n", 0o600)
		}, "isolation", doctor.Fail, "no NetworkPolicy selects its pods", "write a NetworkPolicy",
	},
	"a NetworkPolicy of another namespace": {
		func(in *installation) {
			in.deploy("metadata: {name: gateway}\nspec:\n  replicas", "metadata: {name: gateway, namespace: tools}\nspec:\n  replicas", "{name: gateway-only}", "{name: x, namespace: y}")
		}, "isolation", doctor.Fail, "no NetworkPolicy selects its pods", "write a NetworkPolicy",
	},
	"pods that get anywhere": {
		func(in *installation) { in.deploy("[Ingress, Egress]", "[Ingress]") },
		"isolation", doctor.Fail, "Deployment gateway: no NetworkPolicy of its pods bounds egress", "add Egress to policyTypes",
	},
	"pods that get anywhere by a rule": {
		func(in *installation) { in.deploy("egress: [", "egress: [{}, ") },
		"isolation", doctor.Fail, "NetworkPolicy gateway-only: a rule of it lets all egress through", "name in egress who is meant",
	},
	"pods that get to every address": {
		func(in *installation) { in.deploy("cidr: 10.0.0.0/8", "cidr: 0.0.0.0/0") },
		"isolation", doctor.Fail, "NetworkPolicy gateway-only: a rule of it lets all egress through", "name in egress who is meant",
	},
	"pods that every address of IPv6 gets to": {
		func(in *installation) {
			in.deploy("{namespaceSelector: {matchLabels: {team: edge}}}], ports: [{port: 8080}]", "{ipBlock: {cidr: '::/0'}}]")
		},
		"isolation", doctor.Fail, "NetworkPolicy gateway-only: a rule of it lets all ingress through", "name in ingress who is meant",
	},
	"pods that get to addresses but some": {
		func(in *installation) { in.deploy("cidr: 10.0.0.0/8", "cidr: 0.0.0.0/0, except: [10.0.0.0/8]") },
		"isolation", doctor.Pass, "Deployment gateway: NetworkPolicy gateway-only, of egress", "",
	},
	"pods that anybody gets to": {
		func(in *installation) { in.deploy("policyTypes: [Ingress, Egress]", "policyTypes: [Egress]") },
		"isolation", doctor.Fail, "no NetworkPolicy of its pods bounds ingress", "add Ingress to policyTypes",
	},
	"egress that is bounded by its rules": {
		func(in *installation) { in.deploy("  policyTypes: [Ingress, Egress]\n", "") },
		"isolation", doctor.Pass, "Deployment gateway: NetworkPolicy gateway-only, of egress", "",
	},
	"no sandbox": {
		func(in *installation) { in.starts(nil) }, "isolation", doctor.Fail, "server local: has no sandbox", "sandbox",
	},
	"records on one machine": {
		func(in *installation) { in.set([]any{map[string]any{"file": "audit.jsonl"}}, "audit", "sinks") },
		"audit", doctor.Fail, "records are on this machine alone", "add a sink",
	},
	"no records": {
		func(in *installation) { in.set([]any{}, "audit", "sinks") }, "audit", doctor.Fail, "nothing is recorded", "a sink elsewhere",
	},
	"no traces": {
		func(in *installation) { delete(in.config, "telemetry") }, "tracing", doctor.Fail, "no traces are sent", "OTEL_EXPORTER_OTLP_ENDPOINT",
	},
	"a Prometheus that is away": {
		func(in *installation) { in.o.Prometheus = "http://" + testenv.Reserve(in.t) }, "metrics", doctor.Fail, "connection refused", "--prometheus",
	},
	"a Prometheus that scrapes others": {
		func(in *installation) { in.o.Prometheus = watcher(in.t, nil, "", false) }, "metrics", doctor.Fail, "it scrapes no gateway", "/metrics of each replica",
	},
	"a Prometheus that is none": {
		func(in *installation) { in.o.Prometheus = answering(in.t, http.NotFound) }, "alerts", doctor.Fail, "(HTTP 404) is no Prometheus", "--prometheus",
	},
	"alerts that are not loaded": {
		func(in *installation) { in.o.Prometheus = watcher(in.t, alerts.Names()[1:], "x", true) },
		"alerts", doctor.Warn, "alerts are not loaded: " + alerts.Names()[0], "toolcrib alerts",
	},
	"no alerts at all": {
		func(in *installation) { in.o.Prometheus = watcher(in.t, nil, "", true) }, "alerts", doctor.Fail, "no alert of toolcrib is loaded", "rule_files",
	},
	"alerts without a runbook": {
		func(in *installation) { in.o.Prometheus = watcher(in.t, alerts.Names(), "", true) }, "runbooks", doctor.Fail, "no runbook_url: ", "toolcrib alerts",
	},
	"keys that were never rotated": {
		func(in *installation) { in.config["stateDir"] = in.dir + "/other" }, "rotation", doctor.Fail, "nobody says that it was done", "--record rotation",
	},
	"a load test that failed": {
		func(in *installation) { in.record(evidence.LoadTest, time.Now(), "fail: p99 2s") }, "load-test", doctor.Fail, "fail: p99 2s", "do it again",
	},
	"a drill that failed": {
		func(in *installation) { in.record(evidence.Failover, time.Now(), "Failed: 3 calls lost") }, "failover", doctor.Fail, "3 calls lost", "do it again",
	},
	"a load without an objective": {
		func(in *installation) { in.record(evidence.LoadTest, time.Now(), "no objective: 20 requests") },
		"load-test", doctor.Fail, "does not say that it went well: no objective", "--p99 TIME",
	},
	"a drill that was ended": {
		func(in *installation) { in.record(evidence.Failover, time.Now(), "aborted: half of the calls lost") },
		"failover", doctor.Fail, "does not say that it went well: aborted", "--record failover",
	},
	"a drill that is to come": {
		func(in *installation) { in.record(evidence.Failover, time.Now().Add(300*time.Hour), "pass: fine") }, "failover", doctor.Fail, "which is to come", "--record failover",
	},
	"a drill of last year": {
		func(in *installation) { in.record(evidence.Failover, time.Now().Add(-300*24*time.Hour), "pass: fine") }, "failover", doctor.Fail, "more than 90 days ago", "--record failover",
	},
}
