package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tail keeps the end of what a process wrote.
type tail struct {
	mu sync.Mutex
	b  []byte
}

func (t *tail) Write(p []byte) (int, error) {
	const keep = 4 << 10
	t.mu.Lock()
	defer t.mu.Unlock()
	t.b = append(t.b, p...)
	if len(t.b) > keep {
		t.b = append(t.b[:0], t.b[len(t.b)-keep:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}

// process is a program this benchmark started and has to stop.
type process struct {
	name    string
	cmd     *exec.Cmd
	stdin   io.WriteCloser
	stdout  *bufio.Reader // nil unless asked for
	said    tail
	started time.Time
	done    chan struct{}
	once    sync.Once
}

// command says what to start: argv, what its environment has beyond ours, the
// CPU to pin it to (-1 for none), and whether its standard output is read by us.
type command struct {
	name string
	argv []string
	env  []string
	cpu  int
	talk bool
}

func start(c command) (*process, error) {
	p := &process{name: c.name, cmd: exec.Command(c.argv[0], c.argv[1:]...), done: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), c.env...)
	p.cmd.Stderr = &p.said
	p.cmd.WaitDelay = time.Second
	var err error
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if c.talk {
		out, err := p.cmd.StdoutPipe()
		if err != nil {
			return nil, err
		}
		p.stdout = bufio.NewReader(out)
	} else {
		p.cmd.Stdout = &p.said
	}
	p.started = time.Now()
	if err := startPinned(p.cmd, c.cpu); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.name, err)
	}
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // how it ended is in said
	}()
	return p, nil
}

func (p *process) pid() int { return p.cmd.Process.Pid }

// stop ends the process, by force when it does not end by itself.
func (p *process) stop() {
	p.once.Do(func() {
		_ = p.stdin.Close() // it may have ended already, here and below
		_ = p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			_ = p.cmd.Process.Kill()
			<-p.done
		}
	})
}

// address reads the address the process announces.
func (p *process) address() (string, error) {
	line, err := p.stdout.ReadString('\n')
	addr, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		return "", fmt.Errorf("%s did not start: %s", p.name, p.said.String())
	}
	return addr, nil
}

// measure hands a job to the load generator.
func (p *process) measure(j job) (*sample, error) {
	b, err := json.Marshal(j)
	if err == nil {
		_, err = p.stdin.Write(append(b, '\n'))
	}
	if err != nil {
		return nil, err
	}
	line, err := p.stdout.ReadBytes('\n')
	if err != nil {
		return nil, fmt.Errorf("load generator ended: %w %s", err, p.said.String())
	}
	var s sample
	return &s, json.Unmarshal(line, &s)
}

// crew is all that runs beside us. It is stopped in reverse order.
type crew struct {
	mu   sync.Mutex
	all  []*process
	over bool
}

var errStopped = errors.New("stopped")

// newCrew makes a crew that is stopped at once when ctx ends.
func newCrew(ctx context.Context) *crew {
	c := &crew{}
	context.AfterFunc(ctx, c.stopAll)
	return c
}

func (c *crew) start(what command) (*process, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return nil, errStopped
	}
	p, err := start(what)
	if err == nil {
		c.all = append(c.all, p)
	}
	return p, err
}

// role starts this program again, in another role.
func (c *crew) role(cpu int, role string, args ...string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return c.start(command{name: role, argv: append([]string{self, role}, args...), cpu: cpu, talk: true})
}

func (c *crew) stopAll() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	for _, v := range slices.Backward(c.all) {
		v.stop()
	}
	c.all = nil
}
