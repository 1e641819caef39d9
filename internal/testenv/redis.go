package testenv

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// Redis is one redis-server, started by the test on a free port.
type Redis struct {
	// Port is where it listens, at 127.0.0.1.
	Port int

	t    testing.TB
	args []string
	dir  string
	cmd  *exec.Cmd
	done chan struct{}
}

// Address is its host:port.
func (r *Redis) Address() string { return "127.0.0.1:" + strconv.Itoa(r.Port) }

// URL is its address for the configuration.
func (r *Redis) URL() string { return "redis://" + r.Address() }

var (
	redisFound = sync.OnceValues(findRedis)

	portsMu   sync.Mutex
	nextPort  = 12000 + os.Getpid()*13%9000
	highPort  = 22500 // with 10000 added, the port of a Redis Cluster's bus, still below the ephemeral ones
	startTime = 10 * time.Second
)

// redisSleeps are goroutines of the Redis client that sleep for up to five seconds before they look for the nodes of a cluster
// anew or close old connections, also when the client was closed meanwhile.
func redisSleeps() []goleak.Option {
	const client = "github.com/redis/rueidis."
	return []goleak.Option{
		goleak.IgnoreAnyFunction(client + "(*call).DelayDo.func1"),
		goleak.IgnoreAnyFunction(client + "(*clusterClient)._refresh.func2"),
		goleak.IgnoreAnyFunction(client + "(*clusterClient).redirectOrNew.func1"),
	}
}

// findRedis finds redis-server, which Debian's package installs when it is missing.
func findRedis() (string, error) {
	if path, err := exec.LookPath("redis-server"); err == nil {
		return path, nil
	}
	// The package would start a server of its own: it is told not to.
	install := exec.CommandContext(context.Background(), "apt-get", "install", "-y", "--no-install-recommends",
		"-o", "DPkg::Lock::Timeout=120", "redis-server") // other test binaries may install it at the same time
	install.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive", "RUNLEVEL=1")
	if out, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("no redis-server in PATH, and apt-get install redis-server: %w\n%s", err, out)
	}
	return exec.LookPath("redis-server")
}

// FreePort finds a port on which nothing listens, and neither on the one 10000 above it. It hands out none twice.
func FreePort(t testing.TB) int {
	t.Helper()
	portsMu.Lock()
	defer portsMu.Unlock()
	for range 10_000 {
		if nextPort++; nextPort > highPort {
			nextPort = 12000
		}
		if mine(nextPort) && free(nextPort) && free(nextPort+10_000) {
			return nextPort
		}
	}
	t.Fatal("no free port for Redis")
	return 0
}

// ports keep the ports of this process from the test binaries of other packages, which run at the same time. They are
// sockets in the abstract namespace, which end with the process.
var ports []net.Listener

func mine(port int) bool {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "unix", "@toolcrib-test-port-"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	ports = append(ports, l)
	return true
}

func free(port int) bool {
	var lc net.ListenConfig
	l, err := lc.Listen(context.Background(), "tcp", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return false
	}
	l.Close()
	return true
}

// StartRedis starts a redis-server with further arguments, which ends with the test.
func StartRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := NewRedis(t, args...)
	r.Start()
	return r
}

// NewRedis is StartRedis without the start.
func NewRedis(t testing.TB, args ...string) *Redis {
	t.Helper()
	r := &Redis{Port: FreePort(t), t: t, args: args, dir: t.TempDir()}
	t.Cleanup(r.Kill)
	return r
}

// Start starts it, again with the data and the port it had.
func (r *Redis) Start() {
	r.t.Helper()
	path, err := redisFound()
	if err != nil {
		r.t.Fatal(err)
	}
	args := append([]string{
		"--port", strconv.Itoa(r.Port), "--bind", "127.0.0.1", "--dir", r.dir, "--save", "", "--appendonly", "no", "--daemonize", "no",
	}, r.args...)
	if len(r.args) > 0 && r.args[0] == "sentinel" {
		args = []string{filepath.Join(r.dir, "sentinel.conf"), "--sentinel"}
	}
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	r.cmd = exec.CommandContext(context.Background(), path, args...) // Kill ends it
	r.cmd.Stdout, r.cmd.Stderr = log, log
	r.cmd.SysProcAttr = dying()
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	done, cmd := make(chan struct{}), r.cmd
	r.done = done
	go func() {
		defer close(done)
		_ = cmd.Wait() // killed
	}()
	for end := time.Now().Add(startTime); ; {
		answer, err := r.Do("PING")
		if err == nil && (answer == "PONG" || strings.HasPrefix(answer, "NOAUTH")) {
			return
		}
		select {
		case <-done:
			r.t.Fatalf("redis-server ended: %s", r.Log())
		case <-time.After(10 * time.Millisecond):
		}
		if time.Now().After(end) {
			r.t.Fatalf("redis-server does not answer: %v\n%s", err, r.Log())
		}
	}
}

// Log is the end of what it printed.
func (r *Redis) Log() string {
	b, _ := os.ReadFile(filepath.Join(r.dir, "log"))
	return string(b[max(0, len(b)-logShown):])
}

// Kill kills it.
func (r *Redis) Kill() {
	if r.cmd == nil {
		return
	}
	_ = r.cmd.Process.Kill() // it may have ended
	<-r.done
	r.cmd = nil
}

// Stop is Kill, by the name that goes with Start.
func (r *Redis) Stop() { r.Kill() }

// Hang stops it from doing anything, without ending its connections; Resume lets it go on.
func (r *Redis) Hang() { _ = r.cmd.Process.Signal(syscall.SIGSTOP) }

// Resume lets it go on.
func (r *Redis) Resume() { _ = r.cmd.Process.Signal(syscall.SIGCONT) }

// Do runs a command with an answer of one line, or of lines, and returns the text of those.
func (r *Redis) Do(args ...string) (string, error) {
	d := net.Dialer{Timeout: time.Second}
	c, err := d.DialContext(context.Background(), "tcp", r.Address())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.SetDeadline(time.Now().Add(startTime)); err != nil {
		return "", err
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := c.Write(b.Bytes()); err != nil {
		return "", err
	}
	return readReply(bufio.NewReader(c))
}

func readReply(r *bufio.Reader) (string, error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return "", err
	}
	kind, text := line[0], strings.TrimSpace(line[1:])
	n, _ := strconv.Atoi(text) // only lengths are used
	switch kind {
	case '$':
		if n < 0 {
			return "", nil
		}
		b := make([]byte, n+2)
		for at := 0; at < len(b); {
			m, err := r.Read(b[at:])
			if err != nil {
				return "", err
			}
			at += m
		}
		return string(b[:n]), nil
	case '*':
		var lines []string
		for range n {
			item, err := readReply(r)
			if err != nil {
				return "", err
			}
			lines = append(lines, item)
		}
		return strings.Join(lines, "\n"), nil
	default:
		return text, nil
	}
}

// MasterSet is the name of the master that Sentinels of StartSentinel watch.
const MasterSet = "toolcrib"

// Sentinel is a master, two replicas of it, and three Sentinels.
type Sentinel struct {
	// Servers are the master, as it is at first, and the replicas; Sentinels watch them.
	Servers, Sentinels []*Redis
}

// StartSentinel starts Redis behind Sentinels, which ends with the test.
func StartSentinel(t testing.TB) *Sentinel {
	t.Helper()
	s := &Sentinel{}
	master := StartRedis(t, "--repl-diskless-sync-delay", "0")
	s.Servers = append(s.Servers, master)
	for range 2 {
		s.Servers = append(s.Servers, StartRedis(t, "--repl-diskless-sync-delay", "0", "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port)))
	}
	for range 3 {
		r := NewRedis(t, "sentinel")
		conf := fmt.Sprintf("port %d\nbind 127.0.0.1\ndir %s\nsentinel monitor %s 127.0.0.1 %d 2\nsentinel down-after-milliseconds %s 1500\n"+
			"sentinel failover-timeout %s 5000\n", r.Port, r.dir, MasterSet, master.Port, MasterSet, MasterSet)
		if err := os.WriteFile(filepath.Join(r.dir, "sentinel.conf"), []byte(conf), 0o600); err != nil {
			t.Fatal(err)
		}
		r.Start()
		s.Sentinels = append(s.Sentinels, r)
	}
	Eventually(t, "the replicas are in sync", func() bool {
		info, err := master.Do("INFO", "replication")
		return err == nil && strings.Count(info, "state=online") == 2
	})
	for _, r := range s.Sentinels {
		Eventually(t, "the Sentinels know all", func() bool {
			info, err := r.Do("INFO", "sentinel")
			return err == nil && strings.Contains(info, "slaves=2,sentinels=3")
		})
	}
	return s
}

// URL is the address for the configuration.
func (s *Sentinel) URL() string {
	return "redis://" + addresses(s.Sentinels) + "?master_set=" + MasterSet
}

// Master is the server that the Sentinels take for the master.
func (s *Sentinel) Master() *Redis {
	answer, err := s.Sentinels[0].Do("SENTINEL", "get-master-addr-by-name", MasterSet)
	if err != nil {
		return nil
	}
	for _, r := range s.Servers {
		if strings.HasSuffix(answer, "\n"+strconv.Itoa(r.Port)) {
			return r
		}
	}
	return nil
}

func addresses(servers []*Redis) string {
	all := make([]string, 0, len(servers))
	for _, r := range servers {
		all = append(all, r.Address())
	}
	return strings.Join(all, ",")
}

// RedisCluster is a Redis Cluster of three masters and a replica of each.
type RedisCluster struct {
	// Nodes are the masters, as they are at first, and their replicas in the same order.
	Nodes []*Redis
}

// StartRedisCluster starts a Redis Cluster, which ends with the test. It is returned when a node may fail.
func StartRedisCluster(t testing.TB) *RedisCluster {
	t.Helper()
	c := &RedisCluster{}
	for range 6 {
		c.Nodes = append(c.Nodes, StartRedis(t, "--cluster-enabled", "yes", "--cluster-config-file", "nodes.conf",
			"--cluster-node-timeout", "2000", "--repl-diskless-sync-delay", "0"))
	}
	const masters, slots = 3, 16384
	for i := range masters {
		must(t, c.Nodes[i], "CLUSTER", "ADDSLOTSRANGE", strconv.Itoa(i*slots/masters), strconv.Itoa((i+1)*slots/masters-1))
	}
	for i, n := range c.Nodes {
		must(t, n, "CLUSTER", "SET-CONFIG-EPOCH", strconv.Itoa(i+1))
		for _, other := range c.Nodes[:i] {
			must(t, n, "CLUSTER", "MEET", "127.0.0.1", strconv.Itoa(other.Port))
		}
	}
	for i, n := range c.Nodes[masters:] {
		id := must(t, c.Nodes[i], "CLUSTER", "MYID")
		Eventually(t, "a replica knows its master", func() bool {
			answer, err := n.Do("CLUSTER", "REPLICATE", id)
			return err == nil && answer == "OK"
		})
	}
	for _, n := range c.Nodes {
		Eventually(t, "the cluster is whole", func() bool {
			info, err := n.Do("CLUSTER", "INFO")
			nodes, err2 := n.Do("CLUSTER", "NODES")
			replicas := strings.Count(nodes, " slave ") + strings.Count(nodes, ",slave ")
			return err == nil && err2 == nil && replicas == masters && strings.Contains(info, "cluster_state:ok") &&
				!strings.Contains(nodes, "handshake")
		})
	}
	for _, n := range c.Nodes[:masters] {
		Eventually(t, "a replica is in sync", func() bool {
			info, err := n.Do("INFO", "replication")
			return err == nil && strings.Contains(info, "state=online")
		})
	}
	return c
}

func must(t testing.TB, r *Redis, args ...string) string {
	t.Helper()
	answer, err := r.Do(args...)
	if err != nil || strings.HasPrefix(answer, "ERR") {
		t.Fatalf("%v: %s, %v", args, answer, err)
	}
	return answer
}

// URL is the address for the configuration.
func (c *RedisCluster) URL() string { return "redis://" + addresses(c.Nodes[:2]) }

// MasterOf is the node that has a key, or the channel of that name; nil while none has it.
func (c *RedisCluster) MasterOf(key string) *Redis {
	for _, n := range c.Nodes {
		if n.cmd == nil {
			continue
		}
		if answer, err := n.Do("GET", key); err == nil && !strings.HasPrefix(answer, "MOVED") && !strings.HasPrefix(answer, "CLUSTERDOWN") {
			return n
		}
	}
	return nil
}
