package front_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/memory"
	"github.com/toolcrib/toolcrib/front"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/internal/testenv"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/telemetry"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// replica is one of several gateways in this process.
type replica struct {
	*front.Handler
	url     string
	node    *cluster.Node
	metrics *telemetry.Metrics
	cluster *backend
}

// fleet are replicas on one backend, with the same keys.
type fleet struct {
	t        *testing.T
	config   *v1.Config
	replicas []*replica
	ring     atomic.Pointer[seal.Ring]
}

// serve starts n replicas that have the server "one", which end with the test. more are lines of the configuration.
func serve(t *testing.T, n int, script testenv.Script, more ...string) (*fleet, *testenv.Server) {
	t.Helper()
	server := testenv.HTTPServer(t, script)
	text := fmt.Sprintf("mcpServers: {one: {url: %q}}\n%s\n", server.URL, strings.Join(more, "\n"))
	c, problems := v1.Parse([]byte(text), v1.Options{})
	if c == nil {
		t.Fatalf("%v", problems)
	}
	f := &fleet{t: t, config: c}
	f.rotate(newKey())
	shared := memory.New()
	for range n {
		f.replicas = append(f.replicas, f.start(&backend{Backend: shared, solo: n == 1}, c))
	}
	return f, server
}

func (f *fleet) start(b *backend, c *v1.Config) *replica {
	log := slog.New(slog.DiscardHandler)
	r := &replica{cluster: b, metrics: telemetry.NewMetrics("test"), node: cluster.New(cluster.Options{Backend: b, Ring: f.ring.Load, Log: log})}
	gw := gateway.New(gateway.Options{Version: "test", Log: log, Metrics: r.metrics, Node: r.node, Ring: f.ring.Load})
	p, err := plan.Compile(c)
	if err == nil {
		err = gw.Apply(p)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	life, end := context.WithCancel(context.Background())
	r.Handler = front.New(front.Options{Gateway: gw, Node: r.node, Log: log, Metrics: r.metrics, Ring: f.ring.Load(), Loopback: true, Life: life})
	srv := httptest.NewServer(r.Handler)
	r.url = srv.URL
	f.t.Cleanup(func() {
		end()
		srv.CloseClientConnections()
		srv.Close()
		gw.Close()
		r.node.Close()
	})
	return r
}

func newKey() []byte {
	key := make([]byte, seal.KeySize)
	rand.Read(key)
	return key
}

// rotate gives all replicas these keys, newest first.
func (f *fleet) rotate(keys ...[]byte) {
	ring, err := seal.NewRing(keys...)
	if err != nil {
		f.t.Fatal(err)
	}
	f.ring.Store(ring)
	for _, r := range f.replicas {
		r.SetRing(ring)
	}
}

// client opens a session at replica i, of a client that can be asked everything.
func (f *fleet) client(i int) *testenv.Client {
	f.t.Helper()
	return f.clientOf(i, testenv.LegacyVersion, testenv.AllCapabilities)
}

func (f *fleet) clientOf(i int, version, capabilities string) *testenv.Client {
	f.t.Helper()
	c := testenv.NewClient(f.t, f.replicas[i].url+"/mcp", testenv.Legacy)
	c.Capabilities = capabilities
	c.Initialize(version)
	return c
}

// at is the same client in the same session, at another replica.
func (f *fleet) at(i int, c *testenv.Client) *testenv.Client {
	o := testenv.NewClient(f.t, f.replicas[i].url+"/mcp", testenv.Legacy)
	o.Session, o.Version, o.Capabilities = c.Session, c.Version, c.Capabilities
	return o
}

// rejected is how many tokens of a kind the replicas rejected.
func (f *fleet) rejected(kind string) (n int) {
	for _, r := range f.replicas {
		rec := httptest.NewRecorder()
		r.metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		for line := range strings.Lines(rec.Body.String()) {
			var here int
			if _, err := fmt.Sscanf(line, `mcp_rejected_tokens_total{kind="`+kind+`"} %d`, &here); err == nil {
				n += here
			}
		}
	}
	return n
}

// open begins a call of a tool whose stream is read by hand.
func open(t *testing.T, c *testenv.Client, tool string) *testenv.Stream {
	t.Helper()
	s, err := c.Open(testenv.Within(t, testenv.Patience), testenv.Request{ID: `"call"`, Method: "tools/call", Members: `"name":"one__` + tool + `"`})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// next is the next message of a stream.
func next(t *testing.T, s *testenv.Stream) string {
	t.Helper()
	m, err := s.Next()
	if err != nil {
		t.Fatal(err)
	}
	return string(m)
}

// idOf is the raw id of a message.
func idOf(t *testing.T, message string) string {
	t.Helper()
	r := testenv.Reply{Messages: rawMessages(message)}
	if r.ID() == "" {
		t.Fatalf("no id: %s", message)
	}
	return r.ID()
}

func result(id, members string) []byte {
	return []byte(`{"jsonrpc":"2.0","id":` + id + `,"result":{` + members + `}}`)
}

// backend is a memory that can be away, or lose what it keeps.
type backend struct {
	*memory.Backend
	solo      bool
	away      atomic.Bool
	callbacks cluster.Callbacks

	mu   sync.Mutex
	kept [][2]string
}

func (b *backend) Alone() bool { return b.solo }

func (b *backend) Join(id string, c cluster.Callbacks) (hide, leave func()) {
	b.callbacks = c
	deliver := c.Deliver
	c.Deliver = func(broadcast bool, message []byte) {
		if !b.away.Load() {
			deliver(broadcast, message)
		}
	}
	return b.Backend.Join(id, c)
}

// leave has the backend be away from this replica; comeBack, there again.
func (b *backend) leave() {
	b.away.Store(true)
	b.callbacks.Connected(false)
}

func (b *backend) comeBack() {
	b.away.Store(false)
	b.callbacks.Connected(true)
}

// lose has it forget what this replica put.
func (b *backend) lose(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, k := range b.kept {
		if err := b.Backend.Drop(t.Context(), k[0], k[1]); err != nil {
			t.Error(err)
		}
	}
}

func (b *backend) Send(ctx context.Context, id string, message []byte) error {
	if b.away.Load() {
		return cluster.ErrDown
	}
	return b.Backend.Send(ctx, id, bytes.Clone(message))
}

func (b *backend) Broadcast(ctx context.Context, message []byte) (int, error) {
	if b.away.Load() {
		return 0, cluster.ErrDown
	}
	return b.Backend.Broadcast(ctx, message)
}

func (b *backend) Put(ctx context.Context, key, field, value string, expires time.Time) error {
	if b.away.Load() {
		return cluster.ErrDown
	}
	b.mu.Lock()
	b.kept = append(b.kept, [2]string{key, field})
	b.mu.Unlock()
	return b.Backend.Put(ctx, key, field, value, expires)
}

func (b *backend) Drop(ctx context.Context, key, field string) error {
	if b.away.Load() {
		return cluster.ErrDown
	}
	return b.Backend.Drop(ctx, key, field)
}

func (b *backend) Facts(ctx context.Context, key string) (map[string]string, error) {
	if b.away.Load() {
		return nil, cluster.ErrDown
	}
	return b.Backend.Facts(ctx, key)
}
