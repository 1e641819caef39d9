package testenv

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
)

// StdioServer makes a scripted stdio server for the test; whoever runs its command starts a child of it.
func StdioServer(t testing.TB, script Script) *Server {
	t.Helper()
	dir, err := os.MkdirTemp("", "tc") //nolint:usetesting // a socket's path must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ln, err := new(net.ListenConfig).Listen(context.Background(), "unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t, script)
	s.stdio = &stdioServer{server: s, ln: ln, done: make(chan struct{})}
	go s.stdio.accept()
	return s
}

// stdioServer is the half of a stdio server that lives in the test: each child hands its pipes on to it.
type stdioServer struct {
	server *Server
	ln     net.Listener
	done   chan struct{}
	mu     sync.Mutex
	kids   []*Child
	wg     sync.WaitGroup
}

// Marker is an argument that only the children of this server have.
func (s *Server) Marker() string { return s.stdio.ln.Addr().String() }

func (p *stdioServer) command() (string, []string) {
	return os.Args[0], []string{childCommand, p.ln.Addr().String()}
}

func (p *stdioServer) stop() {
	_ = p.ln.Close() // accept ends
	<-p.done
	p.mu.Lock()
	for _, c := range p.kids {
		_ = c.conn.Close() // the child ends, if it still runs
	}
	p.mu.Unlock()
	p.wg.Wait()
}

func (p *stdioServer) accept() {
	defer close(p.done)
	for {
		conn, err := p.ln.Accept()
		if err != nil {
			return
		}
		c := &Child{conn: conn, Done: make(chan struct{})}
		p.mu.Lock()
		p.kids = append(p.kids, c)
		p.mu.Unlock()
		p.wg.Go(func() {
			defer close(c.Done)
			defer conn.Close()
			c.serve(p.server)
		})
	}
}

// Children are the children started so far, the last one last.
func (s *Server) Children() []*Child {
	s.stdio.mu.Lock()
	defer s.stdio.mu.Unlock()
	var out []*Child
	for _, c := range s.stdio.kids {
		if c.ready.Load() {
			out = append(out, c)
		}
	}
	return out
}

// AwaitChild waits for the nth child, counted from 1.
func (s *Server) AwaitChild(n int) *Child {
	s.t.Helper()
	Eventually(s.t, fmt.Sprintf("start of child %d", n), func() bool { return len(s.Children()) >= n })
	return s.Children()[n-1]
}

// hello is the first line of a child.
type hello struct {
	PID int      `json:"pid"`
	Env []string `json:"env"`
	Dir string   `json:"dir"`
}

// serve reads the lines that the child gets on its standard input.
func (c *Child) serve(s *Server) {
	r := bufio.NewReader(c.conn)
	line, err := r.ReadBytes('\n')
	if err != nil || json.Unmarshal(line, &c.hello) != nil {
		return
	}
	c.ready.Store(true)
	var calls sync.WaitGroup
	defer calls.Wait()
	ctx, gone := context.WithCancel(s.ctx)
	defer gone()
	for {
		c.awake(ctx)
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		rec := parse(line[:len(line)-1], nil)
		s.record(rec) // in order
		calls.Add(1)
		handle := func() {
			defer calls.Done()
			s.take(ctx, rec, &Call{Child: c})
		}
		if rec.ID == "" {
			handle() // in order: cancelled comes after its request, initialized before the next one
			continue
		}
		go handle()
	}
}

// Pause has the child leave its standard input unread, but for the line it may be reading already, until resume is called.
func (c *Child) Pause() (resume func()) {
	gate := make(chan struct{})
	c.mu.Lock()
	c.paused = gate
	c.mu.Unlock()
	return sync.OnceFunc(func() { close(gate) })
}

// awake waits until the child reads.
func (c *Child) awake(ctx context.Context) {
	c.mu.Lock()
	gate := c.paused
	c.mu.Unlock()
	if gate == nil {
		return
	}
	select {
	case <-gate:
	case <-ctx.Done():
	}
}

func (c *Child) key() string { return strconv.Itoa(c.PID) }

// Print writes raw bytes to the child's standard output.
func (c *Child) Print(raw string) { c.frame(1, raw) }

// Complain writes raw bytes to the child's standard error.
func (c *Child) Complain(raw string) { c.frame(2, raw) }

// Exit has the child exit with a code.
func (c *Child) Exit(code int) { c.frame(3, string(rune(code))) }

// Kill kills the child with SIGKILL.
func (c *Child) Kill() { _ = syscall.Kill(c.PID, syscall.SIGKILL) }

func (c *Child) frame(kind byte, raw string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var head [5]byte
	head[0] = kind
	binary.BigEndian.PutUint32(head[1:], uint32(len(raw)))
	if _, err := c.conn.Write(head[:]); err == nil {
		_, _ = io.WriteString(c.conn, raw) // a child that is gone says nothing
	}
}

// child is the body of a child process: its standard input goes to the test, and what the test sends comes out of it.
// It ends by [syscall.Exit]: under the race detector [os.Exit] sleeps for a second, which everybody who ends a server would wait for.
func child(socket string) {
	conn, err := new(net.Dialer).DialContext(context.Background(), "unix", socket)
	if err != nil {
		syscall.Exit(70)
	}
	dir, _ := os.Getwd()
	if err := json.NewEncoder(conn).Encode(hello{os.Getpid(), os.Environ(), dir}); err != nil {
		syscall.Exit(71)
	}
	go func() {
		_, _ = io.Copy(conn, os.Stdin)
		_ = conn.(*net.UnixConn).CloseWrite()
	}()
	r := bufio.NewReader(conn)
	for {
		var head [5]byte
		if _, err := io.ReadFull(r, head[:]); err != nil {
			syscall.Exit(0)
		}
		body := io.LimitReader(r, int64(binary.BigEndian.Uint32(head[1:])))
		switch head[0] {
		case 1:
			_, err = io.Copy(os.Stdout, body)
		case 2:
			_, err = io.Copy(os.Stderr, body)
		default:
			code, _ := io.ReadAll(body)
			syscall.Exit(int([]rune(string(code))[0]))
		}
		if err != nil {
			syscall.Exit(72)
		}
	}
}
