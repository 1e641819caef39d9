package ops_test

import (
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/telemetry/alerts"
)

// values are those of the walks: what takes minutes and days takes seconds.
const values = `
base: 3s
interval: 500ms
burn: [{long: 6s, short: 3s, factor: 14.4, severity: critical, for: 1s}]
alerts:
  ToolcribToolErrors: {window: 3s, for: 1s}
  ToolcribToolLatency: {window: 3s, for: 1s}
  ToolcribDiscovery: {window: 3s, for: 1s, failures: 1}
  ToolcribTasks: {window: 3s, for: 1s}
  ToolcribInstanceFlapping: {window: 3s}
  ToolcribBreakerOpen: {for: 1s}
  ToolcribAuditQueue: {for: 1s}
  ToolcribRedisDegraded: {for: 1s}
  ToolcribConfigRejected: {for: 1s}
  ToolcribGatewayGone: {window: 1h, for: 1s}
`

const (
	// patience is how long a step of a walk may take on a machine that has much else to do.
	patience = time.Minute
	look     = 200 * time.Millisecond
	pace     = 10 * time.Millisecond
)

// tower is what all walks share: Prometheus, and who is told by its Alertmanager.
type tower struct {
	*testenv.Prometheus
	mu   sync.Mutex
	told []message
}

// message is what Alertmanager posts of one alert.
type message struct {
	Status              string
	Labels, Annotations map[string]string
}

func newTower(t *testing.T) *tower {
	t.Helper()
	read, err := alerts.Read(strings.NewReader(values))
	if err != nil {
		t.Fatal(err)
	}
	text, err := alerts.Generate(read)
	if err != nil {
		t.Fatal(err)
	}
	rules := filepath.Join(t.TempDir(), "rules.yaml")
	if err := os.WriteFile(rules, text, 0o600); err != nil {
		t.Fatal(err)
	}
	tw := &tower{}
	hook := httptest.NewServer(tw)
	t.Cleanup(hook.Close)
	manager := testenv.StartAlertmanager(t, hook.URL)
	tw.Prometheus = testenv.StartPrometheus(t, testenv.PrometheusOptions{Targets: alerts.Names(), Rules: rules, Alertmanager: manager})
	return tw
}

// ServeHTTP implements http.Handler: it takes what Alertmanager posts.
func (tw *tower) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var post struct{ Alerts []message }
	if err == nil {
		err = json.Unmarshal(body, &post)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	tw.mu.Lock()
	defer tw.mu.Unlock()
	tw.told = append(tw.told, post.Alerts...)
}

// examined holds what Prometheus has made of the rules, after all that happened: each was evaluated, and toolcrib doctor finds them.
func (tw *tower) examined(t *testing.T) {
	t.Helper()
	rules, err := tw.Rules()
	if err != nil || len(rules) < len(alerts.Names()) {
		t.Fatalf("%d rules, %v", len(rules), err)
	}
	for _, r := range rules {
		if r.Health != "ok" {
			t.Errorf("%s: %s %s", r.Name, r.Health, r.LastError)
		}
	}
	file := filepath.Join(t.TempDir(), "toolcrib.json")
	if err := os.WriteFile(file, []byte(`{"mcpServers": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	doctor := exec.CommandContext(t.Context(), self, "doctor", file, "--production", "--strict", "--only=alerts", "--only=runbooks", "--prometheus="+tw.URL)
	if out, err := doctor.CombinedOutput(); err != nil {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}

// world is what one walk has: a gateway of its own, which is the job of Prometheus that is called like the alert.
type world struct {
	*testing.T
	tower *tower
	alert string
	g     *testenv.Gateway
	// state is where gateways of the walk keep what outlives them; key is what they are scraped with.
	state, key string
}

// serve starts the gateway.
func (w *world) serve(c testenv.Config) {
	w.Helper()
	w.g = testenv.ServeAt(w.T, c, w.state)
	w.tower.ScrapeGateway(w.alert, w.g, w.key)
}

// reload has the gateway take a changed configuration.
func (w *world) reload(c testenv.Config) {
	w.Helper()
	w.g.Configure(c)
}

// calls has a client call tools of server one all the time, or ask for lists when none are named, until the walk is over.
func (w *world) calls(tools ...string) {
	w.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	c := w.g.Modern("/servers/one/mcp")
	go func() {
		defer close(done)
		tick := time.NewTicker(pace)
		defer tick.Stop()
		for i := 0; ; i++ {
			q := testenv.Request{Method: "tools/list"}
			if len(tools) > 0 {
				q = testenv.Request{Method: "tools/call", Members: `"name":"` + tools[i%len(tools)] + `","arguments":{}`}
			}
			_, _ = c.Try(ctx, q) // what fails is what the walk is about
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
	}()
	w.Cleanup(func() {
		cancel()
		<-done
	})
}

// until waits for a condition.
func (w *world) until(what string, ok func() bool) {
	w.Helper()
	tick := time.NewTicker(look)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			w.show()
			w.Fatalf("never happened: %s", what)
		}
	}
}

// show logs what Prometheus has of the walk.
func (w *world) show() {
	for _, expr := range []string{"ALERTS", "up", "server:mcp_tool_errors:ratio_rate3s", "tool:mcp_tool_duration_seconds:p99_rate3s"} {
		all, err := w.tower.Query(expr + `{job="` + w.alert + `"}`)
		w.Logf("%s: %v %v", expr, all, err)
	}
}

// state is the state of the walk's alert with these labels, with the alert; empty when it rests.
func (w *world) now(labels map[string]string) (string, testenv.Alert) {
	w.Helper()
	all, err := w.tower.Alerts()
	if err != nil {
		w.Fatal(err)
	}
	for _, a := range all {
		if a.Labels["job"] == w.alert && a.Labels["alertname"] == w.alert && contains(a.Labels, labels) {
			return a.State, a
		}
	}
	return "", testenv.Alert{}
}

func contains(all, some map[string]string) bool {
	for name, value := range some {
		if all[name] != value {
			return false
		}
	}
	return true
}

// rests waits until the gateway is seen, with what the alert looks at, and the alert rests.
func (w *world) rests(expr string) {
	w.Helper()
	w.until("Prometheus has "+expr+", and the alert rests", func() bool {
		all, err := w.tower.Query(expr)
		state, _ := w.now(nil)
		return err == nil && len(all) > 0 && state == ""
	})
}

// fires waits until the alert fires with these labels, and looks at what it says, and at what the runbook says of how to see it.
func (w *world) fires(labels map[string]string) {
	w.Helper()
	w.until("the alert fires", func() bool {
		state, _ := w.now(labels)
		return state == "firing"
	})
	w.shows()
	_, a := w.now(labels)
	if a.State != "firing" {
		return // it flickered; what it says is looked at when it was delivered
	}
	w.says(a.Labels, a.Annotations)
}

// queries are those that a runbook gives for how to see it, as this walk has names and windows.
func (w *world) queries() (all []string) {
	w.Helper()
	text, err := os.ReadFile(filepath.Join("../../docs/runbooks", w.alert+".md"))
	if err != nil {
		w.Fatal(err)
	}
	here := strings.NewReplacer("NAME", "one", "TOOL", "tool0000", "_rate1h", "_rate6s", "_rate5m", "_rate3s", ":rate5m", ":rate3s")
	for i, part := range strings.Split(string(text), "```") {
		if block, is := strings.CutPrefix(part, "promql\n"); is && i%2 == 1 {
			all = append(all, strings.Split(strings.TrimSpace(here.Replace(block)), "\n")...)
		}
	}
	return all
}

// shows waits until each query of the runbook has an answer.
func (w *world) shows() {
	w.Helper()
	for _, query := range w.queries() {
		w.until(query+" has an answer", func() bool {
			all, err := w.tower.Query(query)
			if err != nil {
				w.Fatalf("%s: %v", query, err)
			}
			return len(all) > 0
		})
	}
}

// says looks at what an alert says.
func (w *world) says(labels, annotations map[string]string) {
	w.Helper()
	for _, name := range []string{"summary", "description", "runbook_url"} {
		if text := annotations[name]; text == "" || strings.Contains(text, "no value") || strings.Contains(text, "<error") {
			w.Errorf("%s: %q", name, text)
		}
	}
	if labels["severity"] == "" {
		w.Errorf("no severity: %v", labels)
	}
	if _, err := os.Stat(filepath.Join("../../docs/runbooks", filepath.Base(annotations["runbook_url"]))); err != nil {
		w.Error(err)
	}
}

// ends waits until the alert is over, and not only because nothing is known.
func (w *world) ends() {
	w.Helper()
	w.until("the alert is over", func() bool {
		up, err := w.tower.Query(`up{job="` + w.alert + `"} == 1`)
		state, _ := w.now(nil)
		return err == nil && len(up) > 0 && state == ""
	})
}

// delivered waits until Alertmanager has told of the alert.
func (w *world) delivered(status string) {
	w.Helper()
	w.until("the webhook is told: "+status, func() bool {
		w.tower.mu.Lock()
		defer w.tower.mu.Unlock()
		i := slices.IndexFunc(w.tower.told, func(m message) bool {
			return m.Status == status && m.Labels["alertname"] == w.alert && m.Labels["job"] == w.alert
		})
		if i >= 0 {
			w.says(w.tower.told[i].Labels, w.tower.told[i].Annotations)
		}
		return i >= 0
	})
}

// with is an entry of a server with more keys.
func with(e, more map[string]any) map[string]any {
	all := maps.Clone(e)
	maps.Copy(all, more)
	return all
}
