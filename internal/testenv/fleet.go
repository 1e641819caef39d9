package testenv

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/base64"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// FleetConfig is what a fleet is configured with.
type FleetConfig struct {
	Config
	// Replicas is how many there are; 3 when 0.
	Replicas int
	// Redis is the address that they share.
	Redis string
	// Program is the gateway's program; the test binary, which Main has play it, when empty.
	Program string
	// Socket is a listening socket that all replicas inherit; nil for one of their own each.
	Socket *os.File
	// StateDir is where all keep what outlives them; a directory of their own each when empty.
	StateDir string
}

// Fleet is several replicas of the gateway, each a process of its own, behind a balancer that has no memory.
type Fleet struct {
	// URL is the balancer's base URL, without a path.
	URL string
	// Replicas are the processes.
	Replicas []*Replica
	// Again is that of the clients that are made from now on.
	Again bool

	t        testing.TB
	mu       sync.Mutex // held while replicas are replaced or configured
	config   FleetConfig
	client   *http.Client
	balancer *balancer
	ids      atomic.Int64
}

// Replica is one process of a fleet.
type Replica struct {
	// URL is its own base URL; PID is its process.
	URL string
	PID int

	cmd   *exec.Cmd
	dir   string // of its configuration
	state string
	log   Log
	done  chan struct{}
	err   error // how it ended
}

// ServeFleet starts a fleet that ends with the test.
func ServeFleet(t testing.TB, c FleetConfig) *Fleet {
	t.Helper()
	key := make([]byte, 32)
	if _, err := rand.Read(key); err != nil {
		t.Fatal(err)
	}
	more := map[string]any{"seal": map[string]any{"keys": []string{base64.StdEncoding.EncodeToString(key)}}}
	if c.Redis != "" {
		more["cluster"] = c.Redis
	}
	maps.Copy(more, c.More)
	c.More = more
	if c.Program == "" {
		self, err := os.Executable()
		if err != nil {
			t.Fatal(err)
		}
		c.Program = self
	}
	if c.Replicas == 0 {
		c.Replicas = 3
	}
	f := &Fleet{t: t, config: c, client: newHTTPClient()}
	for range c.Replicas {
		f.Replicas = append(f.Replicas, launch(t, c))
	}
	for _, r := range f.Replicas {
		r.await(t)
	}
	f.balancer = newBalancer(t, f.Replicas)
	f.URL = f.balancer.url
	t.Cleanup(f.client.CloseIdleConnections)
	return f
}

// launch starts a replica; await finds out where it serves.
func launch(t testing.TB, c FleetConfig) *Replica {
	t.Helper()
	r := &Replica{dir: t.TempDir(), state: c.StateDir, done: make(chan struct{})}
	if r.state == "" {
		r.state = r.dir
	}
	r.configure(t, c.Config)
	r.cmd = exec.Command(c.Program, "serve", r.file()) //nolint:noctx // it ends with the test
	if c.Socket != nil {
		r.cmd = exec.Command("sh", "-c", `LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" serve "$1"`, c.Program, r.file()) //nolint:noctx // as above
		r.cmd.ExtraFiles = []*os.File{c.Socket}
	}
	r.cmd.Stderr = &r.log
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.PID = r.cmd.Process.Pid
	url := make(chan string, 1)
	go r.read(out, url)
	t.Cleanup(func() { r.end(t) })
	select {
	case r.URL = <-url:
	case <-time.After(Patience):
	case <-r.done:
	}
	if r.URL == "" {
		t.Fatalf("a replica does not say where it serves:\n%s", r.log.String())
	}
	return r
}

// read takes what the replica prints, of which the first line says where it serves, and waits for its end.
func (r *Replica) read(out io.Reader, url chan<- string) {
	defer close(r.done)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if _, at, ok := strings.Cut(lines.Text(), " serves at "); ok {
			url <- strings.TrimSuffix(strings.TrimSpace(at), "/mcp")
		}
	}
	r.err = r.cmd.Wait()
}

func (r *Replica) file() string { return filepath.Join(r.dir, "toolcrib.json") }

// configure writes its configuration, at once.
func (r *Replica) configure(t testing.TB, c Config) {
	t.Helper()
	next := r.file() + ".next"
	if err := os.WriteFile(next, c.text(r.state), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, r.file()); err != nil {
		t.Fatal(err)
	}
}

// Configure gives all replicas, and those that come, other servers, and keys in place of those they have.
func (f *Fleet) Configure(c Config) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	more := maps.Clone(f.config.More)
	maps.Copy(more, c.More)
	c.More = more
	f.config.Config = c
	for _, r := range f.Replicas {
		r.configure(f.t, c)
	}
}

// Heed has the balancer send nothing to replicas that are not ready.
func (f *Fleet) Heed() { f.balancer.heed(f.t) }

// Restart stops replica i as a roll-out does, and starts another in its place once it has ended.
func (f *Fleet) Restart(i int) {
	f.t.Helper()
	f.stop(f.Replicas[i])
	next := f.start(i)
	next.await(f.t)
	f.balancer.replace(i, next.URL)
}

// TakeOver has another process take over from replica i: it serves before that is stopped.
func (f *Fleet) TakeOver(i int) {
	f.t.Helper()
	r := f.Replicas[i]
	f.start(i)
	f.stop(r)
}

// start starts a process in the place of replica i.
func (f *Fleet) start(i int) *Replica {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.Replicas[i] = launch(f.t, f.config)
	return f.Replicas[i]
}

// stop stops a replica as a roll-out does.
func (f *Fleet) stop(r *Replica) {
	f.t.Helper()
	if err := r.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		f.t.Fatal(err)
	}
	select {
	case <-r.done:
	case <-time.After(2 * Patience):
		f.t.Fatalf("replica %s does not stop:\n%s", r.URL, r.log.String())
	}
	if r.err != nil {
		f.t.Errorf("replica %s ended with %v:\n%s", r.URL, r.err, r.log.String())
	}
}

// await waits until a replica is ready.
func (r *Replica) await(t testing.TB) {
	t.Helper()
	c := newHTTPClient()
	defer c.CloseIdleConnections()
	Eventually(t, "replica becomes ready", func() bool { return isReady(context.Background(), c, r.URL) })
}

// isReady asks a replica whether it is.
func isReady(ctx context.Context, c *http.Client, base string) bool {
	ctx, cancel := context.WithTimeout(ctx, Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health/ready", nil)
	if err != nil {
		return false
	}
	resp, err := c.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (r *Replica) end(t testing.TB) {
	_ = r.cmd.Process.Signal(syscall.SIGTERM) // it may have ended
	select {
	case <-r.done:
	case <-time.After(Patience):
		r.kill()
		t.Errorf("replica %s was still running %v after SIGTERM", r.URL, Patience)
	}
	if t.Failed() {
		log := r.log.String()
		t.Logf("end of the log of replica %s:\n%s", r.URL, log[max(0, len(log)-logShown):])
	}
	if strings.Contains(r.log.String(), "DATA RACE") {
		t.Errorf("replica %s has a data race:\n%s", r.URL, r.log.String())
	}
}

func (r *Replica) kill() {
	_ = r.cmd.Process.Kill() // it may have ended
	<-r.done
}

// Log is what the replica logged so far.
func (r *Replica) Log() string { return r.log.String() }

// Kill ends replica i with SIGKILL, and waits for its end.
func (f *Fleet) Kill(i int) {
	f.Replicas[i].kill()
	f.balancer.http.CloseIdleConnections()
}

// Next has the balancer send its next request to replica i; further calls are for the requests after it.
func (f *Fleet) Next(i int) { f.balancer.force(i) }

// Served tells how many requests each replica got from the balancer.
func (f *Fleet) Served() []int { return f.balancer.counts() }

// Modern is a modern client of an endpoint of the fleet, such as "/mcp".
func (f *Fleet) Modern(path string) *Client {
	return &Client{URL: f.URL + path, Era: Modern, Again: f.Again, t: f.t, http: f.client}
}

// Client is a client of an era with these capabilities; a legacy one has opened a session.
func (f *Fleet) Client(era Era, path, capabilities string) *Client {
	f.t.Helper()
	c := &Client{URL: f.URL + path, Era: era, Capabilities: capabilities, Again: f.Again, t: f.t, http: f.client}
	if era == Legacy {
		c.Initialize(LegacyVersion)
	}
	return c
}

// At is the same client, in the same session, that speaks to replica i only.
func (f *Fleet) At(i int, c *Client) *Client {
	_, path, _ := strings.Cut(strings.TrimPrefix(c.URL, "http://"), "/")
	same := &Client{
		URL: f.Replicas[i].URL + "/" + path, Era: c.Era, Version: c.Version, Session: c.Session,
		Key: c.Key, Capabilities: c.Capabilities, Again: f.Again, t: c.t, http: c.http,
	}
	same.ids.Store(f.ids.Add(1) << 20) // no two requests of a session have one id
	return same
}
