package testenv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// PrometheusOptions are what a Prometheus is started with.
type PrometheusOptions struct {
	// Targets are the jobs that it scrapes; Scrape says where each of them is.
	Targets []string
	// Interval is the time between two scrapes, and between two evaluations of rules; half a second when 0.
	Interval time.Duration
	// Rules is a file of rules; empty for none.
	Rules string
	// Alertmanager is the host:port of one; empty for none.
	Alertmanager string
}

// Prometheus is one prometheus, started by the test on a free port. Tests share it, each with a job of its own.
type Prometheus struct {
	// URL is its base URL.
	URL string

	t       testing.TB
	targets *httptest.Server
	client  *http.Client
	mu      sync.Mutex
	sources map[string]func(context.Context) ([]byte, error)
}

// StartPrometheus starts a prometheus that ends with the test. What it scrapes may come and go: it asks the test for it, since
// it would take seconds to notice a target that is new.
func StartPrometheus(t testing.TB, o PrometheusOptions) *Prometheus {
	t.Helper()
	p := &Prometheus{t: t, client: newHTTPClient(), sources: map[string]func(context.Context) ([]byte, error){}}
	p.targets = httptest.NewServer(p)
	t.Cleanup(func() {
		p.targets.Close()
		p.client.CloseIdleConnections()
	})
	dir, addr := t.TempDir(), "127.0.0.1:"+strconv.Itoa(FreePort(t))
	p.URL = "http://" + addr
	config := filepath.Join(dir, "prometheus.json")
	if err := os.WriteFile(config, p.config(o), 0o600); err != nil {
		t.Fatal(err)
	}
	command(t, "prometheus", "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr,
		"--log.level=warn", "--rules.alert.resend-delay=1s")
	p.ready("/-/ready")
	return p
}

// config renders the configuration: JSON is YAML.
func (p *Prometheus) config(o PrometheusOptions) []byte {
	if o.Interval == 0 {
		o.Interval = 500 * time.Millisecond
	}
	type object = map[string]any
	every := o.Interval.String()
	jobs := make([]object, len(o.Targets))
	for i, name := range o.Targets {
		jobs[i] = object{"targets": []string{p.targets.Listener.Addr().String()}, "labels": object{"job": name, "__metrics_path__": "/" + name}}
	}
	all := object{
		"global":         object{"scrape_interval": every, "scrape_timeout": every, "evaluation_interval": every},
		"scrape_configs": []object{{"job_name": "tests", "static_configs": jobs}},
	}
	if o.Rules != "" {
		all["rule_files"] = []string{o.Rules}
	}
	if o.Alertmanager != "" {
		all["alerting"] = object{"alertmanagers": []object{{"static_configs": []object{{"targets": []string{o.Alertmanager}}}}}}
	}
	text, err := json.Marshal(all)
	if err != nil {
		panic(err)
	}
	return text
}

// ready waits until what listens at the URL says that it is ready.
func (p *Prometheus) ready(path string) {
	p.t.Helper()
	Eventually(p.t, p.URL+path+" answers", func() bool {
		_, err := p.get(p.t.Context(), path)
		return err == nil
	})
}

// get asks Prometheus.
func (p *Prometheus) get(ctx context.Context, path string) ([]byte, error) {
	return fetch(ctx, p.client, p.URL+path, "")
}

// scrapeMost bounds what is read of an answer.
const scrapeMost = 64 << 20

// fetch gets a URL, with a bearer token unless it is empty. Any status but 200 is an error.
func fetch(ctx context.Context, client *http.Client, from, token string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return nil, err
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, scrapeMost))
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: HTTP %d: %s", from, resp.StatusCode, body)
	}
	return body, err
}

// Fetching is a fetch for Scrape of a URL, with a bearer token unless it is empty.
func Fetching(client *http.Client, from, token string) func(context.Context) ([]byte, error) {
	return func(ctx context.Context) ([]byte, error) { return fetch(ctx, client, from, token) }
}

// Scrape says where the metrics of a job come from, from now on; nil for nowhere.
func (p *Prometheus) Scrape(job string, fetch func(context.Context) ([]byte, error)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.sources[job] = fetch
}

// ScrapeGateway has a job's metrics come from a gateway, until the test ends.
func (p *Prometheus) ScrapeGateway(job string, g *Gateway, token string) {
	p.Scrape(job, Fetching(g.client, g.URL+"/metrics", token))
	g.t.Cleanup(func() { p.Scrape(job, nil) })
}

// ServeHTTP implements http.Handler: it hands on what Prometheus scrapes.
func (p *Prometheus) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	from := p.sources[strings.TrimPrefix(r.URL.Path, "/")]
	p.mu.Unlock()
	err := errors.New("not there")
	var body []byte
	if from != nil {
		body, err = from(r.Context())
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = w.Write(body) // Prometheus may have given up
}

// Sample is a series with its value.
type Sample struct {
	Labels map[string]string
	Value  float64
}

// Query evaluates an expression now.
func (p *Prometheus) Query(expr string) ([]Sample, error) {
	body, err := p.get(p.t.Context(), "/api/v1/query?query="+url.QueryEscape(expr))
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Type   string            `json:"resultType"`
			Result []json.RawMessage `json:"result"`
		} `json:"data"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	if answer.Data.Type != "vector" {
		return nil, fmt.Errorf("%s is a %s, not a vector", expr, answer.Data.Type)
	}
	all := make([]Sample, len(answer.Data.Result))
	for i, raw := range answer.Data.Result {
		var s struct {
			Metric map[string]string `json:"metric"`
			Value  [2]any            `json:"value"`
		}
		if err := json.Unmarshal(raw, &s); err != nil {
			return nil, err
		}
		text, _ := s.Value[1].(string)
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return nil, err
		}
		all[i] = Sample{Labels: s.Metric, Value: value}
	}
	return all, nil
}

// Alert is an alert that is pending or firing.
type Alert struct {
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
	State       string            `json:"state"`
}

// Alerts are all alerts that are pending or firing now.
func (p *Prometheus) Alerts() ([]Alert, error) {
	body, err := p.get(p.t.Context(), "/api/v1/alerts")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Alerts []Alert `json:"alerts"`
		} `json:"data"`
	}
	return answer.Data.Alerts, json.Unmarshal(body, &answer)
}

// Rule is a rule that Prometheus has loaded, with what its last evaluation came to.
type Rule struct {
	Name      string `json:"name"`
	Health    string `json:"health"`
	LastError string `json:"lastError"`
}

// Rules are all rules, those that record and those that alert.
func (p *Prometheus) Rules() (all []Rule, err error) {
	body, err := p.get(p.t.Context(), "/api/v1/rules")
	if err != nil {
		return nil, err
	}
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []Rule `json:"rules"`
			} `json:"groups"`
		} `json:"data"`
	}
	err = json.Unmarshal(body, &answer)
	for _, g := range answer.Data.Groups {
		all = append(all, g.Rules...)
	}
	return all, err
}

// StartAlertmanager starts an alertmanager that sends everything to a URL at once, and that ends with the test. It returns its host:port.
func StartAlertmanager(t testing.TB, webhook string) string {
	t.Helper()
	dir, addr := t.TempDir(), "127.0.0.1:"+strconv.Itoa(FreePort(t))
	config := filepath.Join(dir, "alertmanager.json")
	text := fmt.Sprintf(`{"route": {"receiver": "test", "group_by": ["..."], "group_wait": "0s", "group_interval": "1s", "repeat_interval": "1h"},
"receivers": [{"name": "test", "webhook_configs": [{"url": %q, "send_resolved": true}]}]}`, webhook)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	name := "alertmanager"
	if _, err := exec.LookPath(name); err != nil {
		name = "prometheus-alertmanager" // Debian's
	}
	command(t, name, "--config.file="+config, "--storage.path="+dir, "--web.listen-address="+addr, "--cluster.listen-address=", "--log.level=warn")
	p := &Prometheus{URL: "http://" + addr, t: t, client: newHTTPClient()}
	t.Cleanup(p.client.CloseIdleConnections)
	p.ready("/-/ready")
	return addr
}

// command starts a program that ends with the test. What it prints is shown if the test fails.
func command(t testing.TB, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(context.Background(), name, args...) // the cleanup ends it
	var out Log
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.SysProcAttr = dying()
	if err := cmd.Start(); err != nil {
		t.Fatalf("%v (test/prepare sees to it)", err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()         // killed
		if t.Failed() {
			text := out.String()
			t.Logf("end of what %s printed:\n%s", name, text[max(0, len(text)-logShown):])
		}
	})
}
