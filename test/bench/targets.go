package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"
)

// target is something that stands between load and upstream, or the upstream.
type target struct {
	addr   string
	proc   *process
	rested time.Duration // CPU that it had taken when it was measured last
}

// world is everything that runs for a benchmark.
type world struct {
	*crew
	ctx      context.Context //nolint:containedctx // of the whole run, as the crew is
	dir      string          // for configurations and what is built
	gateway  string          // path of the gateway program, empty without
	peers    string          // folder that has node_modules with the peers; none without, empty until they are installed
	gwCPU    int
	loadCPU  int
	load     *process
	upstream target
	key      string
	issuer   *issuer
	token    string             // of a member of group 0
	others   map[string]*target // by name, as they are needed
	spans    string             // address of what takes traces
	notes    []string
}

// newKey makes an API key.
func newKey() string { return rand.Text() + rand.Text() }

func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// newWorld starts load generator and upstream, and finds or builds the gateway.
func newWorld(ctx context.Context, dir, gateway, peers string) (*world, error) {
	w := &world{crew: newCrew(ctx), ctx: ctx, dir: dir, peers: peers, key: newKey(), others: map[string]*target{}}
	var ok bool
	if w.gwCPU, w.loadCPU, ok = cpus(); !ok {
		w.note("not pinned: gateway and load share what CPUs there are, so their speed is not comparable")
	}
	var err error
	if w.issuer, err = newIssuer(); err != nil {
		return w, err
	}
	if w.token, err = w.issuer.token("bench", groupOf(0)); err != nil {
		return w, err
	}
	if w.gateway, err = findGateway(ctx, dir, gateway); err != nil {
		return w, err
	}
	pinSelf(w.loadCPU) // what a gateway logs is read here, and not beside it
	if w.load, err = w.role(w.loadCPU, "load"); err != nil {
		return w, err
	}
	if w.upstream.proc, err = w.role(w.loadCPU, "upstream"); err != nil {
		return w, err
	}
	w.upstream.addr, err = w.upstream.proc.address()
	return w, err
}

// stop ends all that runs.
func (w *world) stop() {
	w.stopAll()
	if w.issuer != nil {
		w.issuer.close()
	}
}

// findGateway returns the program to measure: the one given, or ./cmd/toolcrib
// built for this run.
func findGateway(ctx context.Context, dir, given string) (string, error) {
	switch given {
	case "none":
		return "", nil
	case "":
	default:
		return filepath.Abs(given)
	}
	out := filepath.Join(dir, "toolcrib")
	build := exec.CommandContext(ctx, "go", "build", "-o", out, "github.com/toolcrib/toolcrib/cmd/toolcrib")
	if said, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the gateway: %w\n%s", err, said)
	}
	return out, nil
}

// get returns a target by name, started when it is asked for first. A target
// this machine cannot have is nil.
func (w *world) get(name string) (*target, error) {
	if t, ok := w.others[name]; ok {
		return t, nil
	}
	t, err := w.begin(name)
	if err != nil {
		return nil, err
	}
	w.others[name] = t
	return t, nil
}

func (w *world) begin(name string) (*target, error) {
	switch name {
	case "direct":
		return &w.upstream, nil
	case "bare":
		return w.startBare()
	case "nginx":
		return w.startNginx()
	case superGateway, mcpProxy:
		return w.startPeer(name)
	}
	if w.gateway == "" {
		return nil, nil //nolint:nilnil // a target that is left out
	}
	if name == "run" {
		return w.startRun(legacy)
	}
	servers, ok := w.configs()[name]
	if !ok {
		return nil, fmt.Errorf("no target %q", name)
	}
	t, err := w.startGateway(name, servers)
	if err != nil {
		return nil, err
	}
	return t, t.await("/health/ready", 30*time.Second)
}

func (w *world) startBare() (*target, error) {
	p, err := w.role(w.gwCPU, "proxy", "-upstream", w.upstream.addr)
	if err != nil {
		return nil, err
	}
	addr, err := p.address()
	return &target{addr: addr, proc: p}, err
}

// configs are the gateways of the benchmark and the servers each has.
func (w *world) configs() map[string]map[string]any {
	remote := func(path string) any {
		return map[string]any{"url": "http://" + w.upstream.addr + path, "listTTL": "1h"}
	}
	stdio := func(e era) any {
		argv := w.stdioArgv(e)
		return map[string]any{"command": argv[0], "args": argv[1:]}
	}
	calls := map[string]any{"modern": remote("/modern/10/mcp"), "legacy": remote("/legacy/10/mcp")}
	return map[string]map[string]any{
		"calls":  calls,
		"off":    calls, // beside one with something on
		"key":    calls,
		"calm":   {"modern": calm(remote("/modern/10/mcp")), "legacy": calm(remote("/legacy/10/mcp"))},
		"traced": calls, "tracedall": calls,
		"access": calls, "grants10": calls, "grants10000": calls,
		"filter": {"one": remote(fmt.Sprintf("/modern/%d/mcp", filterTools))},
		"long":   {"modern": remote("/modern/2500/mcp"), "legacy": remote("/legacy/2500/mcp")},
		"single": {"modern": remote("/modern/100/mcp"), "legacy": remote("/legacy/100/mcp")},
		"four":   numbered(4, func(n int) any { return remote(fmt.Sprintf("/modern/25/%d/mcp", n)) }),
		"many":   numbered(100, func(n int) any { return remote(fmt.Sprintf("/modern/10/%d/mcp", n)) }),
		"held":   {"legacy": remote("/legacy/100/held/mcp")},
		"parked": {"legacy": remote("/legacy/10/mcp")},
		"watch":  {"modern": remote("/modern/10/" + watchedName + "/mcp")},
		"stdio":  {"modern": stdio(modern), "legacy": stdio(legacy)},

		"slowone": slowOne(remote),
	}
}

// calm has answers of a server kept: of those that are called here, none is, so that each call is one that the cache is no use for.
func calm(server any) any {
	s := server.(map[string]any)
	s["cache"] = map[string]any{"resources": "1m", "prompts": "1m"}
	s["tools"] = map[string]any{"lookup_*": map[string]any{"cache": "1m"}}
	return s
}

// generous are limits of each kind that nobody meets here.
func generous() []any {
	return []any{
		map[string]any{"per": []string{"address"}, "rate": "1000000/s", "concurrency": 10_000},
		map[string]any{"per": []string{"principal"}, "rate": "1000000/s", "bytes": "100Gi/s"},
		map[string]any{"per": []string{"tenant", "tool"}, "tools": []string{"*"}, "quota": "1000000000000/day", "concurrency": 10_000},
	}
}

func numbered(n int, server func(int) any) map[string]any {
	all := map[string]any{}
	for i := range n {
		all[fmt.Sprintf("s%02d", i)] = server(i)
	}
	return all
}

// manyOpen bounds what the clients of a gateway may hold open, where the
// default is less than is measured.
const manyOpen = 20_000

// config is the configuration file of a gateway.
func (w *world) config(name, addr string, servers map[string]any) ([]byte, error) {
	c := map[string]any{
		"listen":     addr,
		"stateDir":   filepath.Join(w.dir, name),
		"mcpServers": servers,
		"log":        map[string]any{"level": "warn"},
	}
	switch name {
	case "parked":
		c["questions"] = map[string]any{"perPrincipal": manyOpen, "perServer": manyOpen, "total": manyOpen}
	case "watch":
		c["streams"] = map[string]any{"perPrincipal": manyOpen, "total": manyOpen}
	}
	if name == "calm" {
		c["limits"], c["cache"] = generous(), map[string]any{"size": "64Mi"}
	}
	if share, ok := traced[name]; ok {
		c["telemetry"] = map[string]any{"traces": map[string]any{"endpoint": "http://" + w.spans, "sample": share}}
	}
	if name == "traced" { // as operators run it
		c["log"] = map[string]any{"level": "info", "calls": true, "format": "json"}
	}
	if name == "key" {
		c["auth"] = map[string]any{"apiKeys": []any{map[string]any{"name": "bench", "key": w.key}}}
		c["policies"] = map[string]any{"bindings": []any{map[string]any{"everyone": true, "role": "user"}}}
	}
	if err := w.guard(name, c); err != nil {
		return nil, err
	}
	return json.Marshal(c)
}

// startGateway starts the gateway in front of servers. It need not be ready.
func (w *world) startGateway(name string, servers map[string]any) (*target, error) {
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	if traced[name] > 0 {
		if err := w.takeSpans(); err != nil {
			return nil, err
		}
	}
	text, err := w.config(name, addr, servers)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(w.dir, name+".json")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		return nil, err
	}
	p, err := w.start(command{name: "gateway " + name, argv: []string{w.gateway, "serve", file}, cpu: w.gwCPU})
	return &target{addr: addr, proc: p}, err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// await asks for a path until it answers 200.
func (t *target) await(path string, limit time.Duration) error {
	deadline := time.Now().Add(limit)
	last := errors.New("nothing listens")
	for time.Now().Before(deadline) {
		status, body, err := t.ask(path, deadline)
		switch {
		case err != nil:
			last = err
		case status == 200:
			return nil
		default:
			last = fmt.Errorf("status %d: %.500s", status, body)
		}
		select {
		case <-t.proc.done:
			return fmt.Errorf("%s ended: %s", t.proc.name, t.proc.said.String())
		case <-time.After(200 * time.Microsecond):
		}
	}
	return fmt.Errorf("%s: GET %s: %w %s", t.proc.name, path, last, t.proc.said.String())
}

func (t *target) ask(path string, deadline time.Time) (int, []byte, error) {
	c, err := dialClient(endpoint{Addr: t.addr, Era: modern}, deadline)
	if err != nil {
		return 0, nil, err
	}
	defer c.drop()
	return c.get(path)
}

const nginxConfig = `worker_processes 1;
daemon off;
master_process off;
pid %[1]s/nginx.pid;
error_log stderr crit;
events { worker_connections 4096; }
http {
  access_log off;
  keepalive_requests 1000000000;
  client_body_temp_path %[1]s/nginx-body;
  proxy_temp_path %[1]s/nginx-proxy;
  fastcgi_temp_path %[1]s/nginx-fastcgi;
  uwsgi_temp_path %[1]s/nginx-uwsgi;
  scgi_temp_path %[1]s/nginx-scgi;
  upstream cheap { server %[2]s; keepalive 256; keepalive_requests 1000000000; }
  server {
    listen %[3]s;
    location / {
      proxy_pass http://cheap;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffers 8 32k;
    }
  }
}
`

func (w *world) startNginx() (*target, error) {
	program := findNginx()
	if program == "" {
		w.note("nginx is not installed: its rows are left out")
		return nil, nil //nolint:nilnil // a target that is left out
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	file := filepath.Join(w.dir, "nginx.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, nginxConfig, w.dir, w.upstream.addr, addr), 0o600); err != nil {
		return nil, err
	}
	p, err := w.start(command{name: "nginx", argv: []string{program, "-p", w.dir, "-e", "stderr", "-c", file}, cpu: w.gwCPU})
	if err != nil {
		return nil, err
	}
	t := &target{addr: addr, proc: p}
	return t, t.await(statsPath, 10*time.Second)
}

func findNginx() string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx", "/usr/local/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

func machine() string {
	return fmt.Sprintf("%s, %s/%s, %d CPUs", runtime.Version(), runtime.GOOS, runtime.GOARCH, runtime.NumCPU())
}
