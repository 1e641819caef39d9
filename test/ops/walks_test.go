package ops_test

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/telemetry/alerts"
)

type object = map[string]any

// walks are the runbooks, each as a fault, the alert, the remedy that the runbook gives, and the end of the alert.
var walks = map[string]func(*world){
	"ToolcribToolErrors":          toolErrors,
	"ToolcribToolLatency":         toolLatency,
	"ToolcribDiscovery":           discovery,
	"ToolcribTasks":               tasks,
	"ToolcribServerBudgetBurn":    serverBudget,
	"ToolcribToolBudgetBurn":      toolBudget,
	"ToolcribInstanceFlapping":    flapping,
	"ToolcribBreakerOpen":         breaker,
	"ToolcribAuditQueue":          auditQueue,
	"ToolcribCredentialExpiring":  credential,
	"ToolcribCertificateExpiring": certificate,
	"ToolcribRedisDegraded":       redis,
	"ToolcribKeyRingStale":        keyRing,
	"ToolcribConfigRejected":      configRejected,
	"ToolcribGatewayGone":         gone,
}

// TestRunbooks walks all at once, however few processors there are: they mostly wait.
func TestRunbooks(t *testing.T) {
	tw := newTower(t)
	defer tw.examined(t)
	var all sync.WaitGroup
	defer all.Wait()
	for _, name := range alerts.Names() {
		all.Go(func() {
			t.Run(name, func(t *testing.T) {
				walk := walks[name]
				if walk == nil {
					t.Fatal("nobody walks this runbook")
				}
				walk(&world{T: t, tower: tw, alert: name, state: t.TempDir()})
			})
		})
	}
}

// moody is a server that does what it is told with calls and lists.
type moody struct {
	*testenv.Server
	failing atomic.Bool
	delay   atomic.Int64 // nanoseconds
}

func newMoody(t *testing.T) *moody {
	t.Helper()
	m := &moody{}
	m.Server = testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(2), Forgets: true, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			take(c, time.Duration(m.delay.Load()))
			if m.failing.Load() {
				c.HTTP.Status(http.StatusInternalServerError, "text/plain", "the disk is full")
				return
			}
			c.Text("done")
		},
	}})
	return m
}

// take is work that takes so long.
func take(c *testenv.Call, d time.Duration) {
	if d == 0 {
		return
	}
	select {
	case <-time.After(d):
	case <-c.Done:
	}
}

func of(e object) testenv.Config { return testenv.Config{Entries: object{"one": e}} }

const called = `sum by (job) (tool:mcp_tool_requests:rate3s{job="`

// requests is what shows that calls are counted.
func (w *world) requests() string { return called + w.alert + `"}) > 0` }

func (w *world) metric(name string) string { return name + `{job="` + w.alert + `"}` }

// toolErrors: a server fails; it is mended.
func toolErrors(w *world) {
	m := newMoody(w.T)
	w.serve(of(m.Entry()))
	w.calls("tool0000")
	w.rests(w.requests())
	m.failing.Store(true)
	w.fires(map[string]string{"server": "one"})
	m.failing.Store(false)
	w.ends()
}

// toolLatency: one of two instances is slow now and then; it is taken out of the configuration.
func toolLatency(w *world) {
	usual := 60 * time.Millisecond // far more than what calls wait for each other on a busy machine
	var n atomic.Int64
	slow := testenv.HTTPServer(w.T, testenv.Script{Tools: testenv.Tools(1), Forgets: true, On: map[string]func(*testenv.Call){
		"tools/call": func(c *testenv.Call) {
			took := usual
			if n.Add(1)%10 == 0 {
				took = time.Second
			}
			take(c, took)
			c.Text("done")
		},
	}})
	quick := newMoody(w.T)
	quick.delay.Store(int64(usual))
	w.serve(of(object{"urls": []string{quick.URL}}))
	for range 8 {
		w.calls("tool0000")
	}
	w.rests(w.requests())
	w.reload(of(object{"urls": []string{quick.URL, slow.URL}}))
	w.fires(map[string]string{"server": "one", "tool": "tool0000"})
	w.reload(of(object{"urls": []string{quick.URL}}))
	w.ends()
}

// discovery: a server does not tell what it offers any more; it is mended.
func discovery(w *world) {
	var failing atomic.Bool
	s := testenv.HTTPServer(w.T, testenv.Script{Tools: testenv.Tools(1), Forgets: true, On: map[string]func(*testenv.Call){
		"tools/list": func(c *testenv.Call) {
			if failing.Load() {
				c.Error(-32603, "the table of tools is locked")
				return
			}
			c.Complete(`"ttlMs":0,"cacheScope":"private","tools":[` + testenv.Tool("tool0000") + `]`)
		},
	}})
	w.serve(of(s.Entry(object{"listTTL": "0s"})))
	w.calls()
	w.rests(w.metric("mcp_server_discoveries_total"))
	failing.Store(true)
	w.fires(map[string]string{"server": "one"})
	failing.Store(false)
	w.ends()
}

// tasks: the tasks of a server fail; it is mended.
func tasks(w *world) {
	var failing atomic.Bool
	var ids atomic.Int64
	task := func(id, status string) string {
		return `"taskId":` + id + `,"status":"` + status +
			`","createdAt":"2026-11-21T00:00:00Z","lastUpdatedAt":"2026-11-21T00:00:01Z","ttlMs":60000,"pollIntervalMs":100`
	}
	s := testenv.HTTPServer(w.T, testenv.Script{
		Tools: []string{testenv.Tool("slow")}, Forgets: true,
		Capabilities: `{"tools":{},"extensions":{"io.modelcontextprotocol/tasks":{}}}`,
		On: map[string]func(*testenv.Call){
			"tools/call": func(c *testenv.Call) {
				c.Result(`{"resultType":"task",` + task(strconv.Quote("task-"+strconv.FormatInt(ids.Add(1), 10)), "working") + `}`)
			},
			"tasks/get": func(c *testenv.Call) {
				if failing.Load() {
					c.Complete(task(c.Param("taskId"), "failed") + `,"error":{"code":-32603,"message":"out of memory"}`)
					return
				}
				c.Complete(task(c.Param("taskId"), "completed") + `,"result":{"content":[]}`)
			},
		},
	})
	w.serve(of(s.Entry()))
	w.calls("slow")
	w.rests(w.metric("mcp_tasks_ended_total"))
	failing.Store(true)
	w.fires(map[string]string{"server": "one"})
	failing.Store(false)
	w.ends()
}

// serverBudget: a server fails; another one answers in its place until it is mended.
func serverBudget(w *world) {
	m, other := newMoody(w.T), newMoody(w.T)
	config := of(m.Entry(object{"retries": object{"attempts": 0}}))
	config.Entries["two"] = other.Entry()
	w.serve(config)
	w.calls("tool0000", "tool0001")
	w.rests(w.requests())
	m.Stop()
	w.fires(map[string]string{"server": "one", "window": "6s"})
	config = of(m.Entry(object{"retries": object{"attempts": 0}, "fallback": object{"server": "two"}}))
	config.Entries["two"] = other.Entry()
	w.reload(config)
	w.ends()
}

// toolBudget: a tool is given less time than it takes; it is given more.
func toolBudget(w *world) {
	m := newMoody(w.T)
	m.delay.Store(int64(300 * time.Millisecond))
	limited := func(most string) testenv.Config {
		return of(m.Entry(object{"tools": object{"tool0000": object{"timeouts": object{"total": most}}}}))
	}
	w.serve(limited("10s"))
	w.calls("tool0000")
	w.calls("tool0001")
	w.rests(w.requests())
	w.reload(limited("20ms"))
	w.fires(map[string]string{"server": "one", "tool": "tool0000", "window": "6s"})
	w.reload(limited("10s"))
	w.ends()
}

// flapping: an instance comes and goes; it is taken out of the configuration.
func flapping(w *world) {
	steady, loose := newMoody(w.T), newMoody(w.T)
	more := object{"health": object{"ejectFor": "100ms", "active": object{"kind": "tcp", "interval": "50ms"}}}
	w.serve(of(with(object{"urls": []string{steady.URL, loose.URL}}, more)))
	w.calls("tool0000")
	w.rests(w.metric("mcp_server_instance_up"))
	over := make(chan struct{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(300 * time.Millisecond)
		defer tick.Stop()
		for {
			loose.Stop()
			<-tick.C
			loose.Start()
			select {
			case <-tick.C:
			case <-over:
				return
			}
		}
	}()
	w.Cleanup(func() { <-ended })
	defer close(over)
	w.fires(map[string]string{"server": "one"})
	w.reload(of(with(object{"urls": []string{steady.URL}}, more)))
	w.ends()
}

// breaker: a server fails until it is not called any more; it is mended, and found to be. Who is on duty is told of both.
func breaker(w *world) {
	m := newMoody(w.T)
	w.serve(of(m.Entry(object{"breaker": object{"failures": 3, "open": "3s"}})))
	w.calls("tool0000")
	w.rests(w.metric("mcp_server_breaker_open"))
	m.failing.Store(true)
	w.fires(map[string]string{"server": "one"})
	w.delivered("firing")
	m.failing.Store(false)
	w.ends()
	w.delivered("resolved")
}

// auditQueue: who the audit log is sent to is away; it comes back.
func auditQueue(w *world) {
	addr := testenv.Reserve(w)
	listens := func() *httptest.Server {
		siem := &httptest.Server{Listener: testenv.ListenAt(w, addr), Config: &http.Server{
			Handler: http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), ReadHeaderTimeout: patience,
		}}
		siem.Start()
		return siem
	}
	siem := listens()
	w.Cleanup(func() { siem.Close() })
	config := of(newMoody(w.T).Entry())
	config.More = object{"audit": object{"sinks": []any{
		object{"file": filepath.Join(w.state, "audit.jsonl")}, object{"webhook": siem.URL, "timeout": "2s"},
	}}}
	w.serve(config)
	w.calls("tool0000")
	w.rests(w.metric("toolcrib_audit_sink_behind_bytes") + " == 0")
	siem.Close()
	w.fires(nil)
	siem = listens()
	w.ends()
}

// credential: a key ends in two days; it is given a later end.
func credential(w *world) {
	w.key = "walker-key-0123456789"
	until := func(left time.Duration) testenv.Config {
		return testenv.Config{More: object{"auth": object{"apiKeys": []any{
			object{"name": "prometheus", "key": w.key, "expires": time.Now().Add(left).Format(time.RFC3339)},
		}}}}
	}
	w.serve(until(1000 * time.Hour))
	w.rests(w.metric("toolcrib_credential_expiry_timestamp_seconds"))
	w.reload(until(48 * time.Hour))
	w.fires(map[string]string{"kind": "api_key"})
	w.reload(until(1000 * time.Hour))
	w.ends()
}

// certificate: the certificate ends in two days; its files are replaced.
func certificate(w *world) {
	dir := w.TempDir()
	until := func(left time.Duration) (cert, key string) {
		made := testenv.Certificate(w.T, &x509.Certificate{NotAfter: time.Now().Add(left), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}, nil)
		return testenv.WriteCertificate(w.T, dir, "server", made)
	}
	cert, key := until(1000 * time.Hour)
	w.g = testenv.ServeAt(w.T, testenv.Config{More: object{"tls": object{"cert": cert, "key": key}}}, w.state)
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // what ends is what the walk is about
	w.Cleanup(transport.CloseIdleConnections)
	w.tower.Scrape(w.alert, testenv.Fetching(&http.Client{Transport: transport}, w.g.URL+"/metrics", ""))
	w.Cleanup(func() { w.tower.Scrape(w.alert, nil) })
	w.rests(w.metric("toolcrib_certificate_expiry_timestamp_seconds"))
	until(48 * time.Hour)
	w.fires(map[string]string{"use": "serving"})
	until(1000 * time.Hour)
	w.ends()
}

func sealKey() string {
	key := make([]byte, 32)
	_, _ = rand.Read(key) // it never fails
	return base64.StdEncoding.EncodeToString(key)
}

// redis: Redis is away; it comes back.
func redis(w *world) {
	r := testenv.StartRedis(w.T)
	w.serve(testenv.Config{More: object{"cluster": r.URL(), "seal": object{"keys": []string{sealKey()}}}})
	w.rests(w.metric("toolcrib_cluster_connected") + " == 1")
	r.Kill()
	w.fires(nil)
	r.Start()
	w.ends()
}

// keyRing: the newest key was made long ago; a new one is put before it.
func keyRing(w *world) {
	old := sealKey()
	sealed := func(keys ...string) testenv.Config { return testenv.Config{More: object{"seal": object{"keys": keys}}} }
	w.serve(sealed(old))
	w.rests(w.metric("toolcrib_seal_key_created_timestamp_seconds"))
	w.g.Stop()
	w.aged()
	w.serve(sealed(old))
	w.fires(nil)
	w.reload(sealed(sealKey(), old))
	w.ends()
}

// aged has the gateway remember that its key was there a hundred days ago.
func (w *world) aged() {
	w.Helper()
	file := filepath.Join(w.state, "seal.seen")
	text, err := os.ReadFile(file)
	if err != nil {
		w.Fatal(err)
	}
	var seen object
	if err := json.Unmarshal(text, &seen); err != nil {
		w.Fatal(err)
	}
	seen["from"] = time.Now().AddDate(0, 0, -100).UTC()
	if text, err = json.Marshal(seen); err != nil {
		w.Fatal(err)
	}
	if err := os.WriteFile(file, text, 0o600); err != nil {
		w.Fatal(err)
	}
}

// configRejected: the file is changed to what cannot be applied; it is mended.
func configRejected(w *world) {
	config := testenv.One(testenv.HTTPServer(w.T, testenv.Script{Tools: testenv.Tools(1)}))
	w.serve(config)
	w.rests(w.metric("toolcrib_config_last_apply_successful") + " == 1")
	w.g.Write([]byte(`{"listen": 7}`))
	w.fires(nil)
	w.g.Configure(config)
	w.ends()
}

// gone: the gateway is stopped; it is started.
func gone(w *world) {
	w.serve(testenv.Config{})
	w.rests(w.metric("toolcrib_build_info"))
	w.g.Stop()
	w.fires(nil)
	w.serve(testenv.Config{})
	w.ends()
}
