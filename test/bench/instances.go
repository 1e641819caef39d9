package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"slices"
	"syscall"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner"
)

// isolatedConfigs are the gateways whose processes are not all alike.
func (w *world) isolatedConfigs() map[string]map[string]any {
	argv := w.stdioArgv(legacy)
	server := func(isolation string, pool map[string]any) map[string]any {
		return map[string]any{"command": argv[0], "args": argv[1:], "isolation": isolation, "pool": pool}
	}
	return map[string]map[string]any{
		"instances": {"legacy": server("session", map[string]any{"max": 200})},
		"spares": {
			"common": server("shared", map[string]any{}),
			"legacy": server("session", map[string]any{"max": 50, "spares": 1}),
		},
		"sleepy": {"legacy": server("shared", map[string]any{"idle": sleepyIdle.String()})},
	}
}

// shootInstances takes the memory of a gateway with a process for each of many
// sessions, beyond that of the same gateway after sessions came and went.
func (w *world) shootInstances(s *settings, rep *report) error {
	t, err := w.startReady("instances", w.isolatedConfigs()["instances"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	for range 5 {
		if err := t.sessions(s.instances/5, func() error { return nil }); err != nil {
			return err
		}
	}
	time.Sleep(s.settle())
	idle, err := t.residentParts()
	if err != nil {
		return err
	}
	rep.figure("instances-base-mib", "resident memory after processes of sessions came and went", "MiB", mebibytes(idle))
	return t.sessions(s.instances, func() error {
		time.Sleep(s.settle())
		held, err := t.residentParts()
		rep.figure("instances-mib", fmt.Sprintf("growth with %d processes of sessions, apart from these", s.instances), "MiB", max(0, mebibytes(held-idle)))
		return err
	})
}

// sessions opens n sessions one after the other, each with a call, has f look,
// and ends them.
func (t *target) sessions(n int, f func() error) error {
	var open []*client
	defer func() {
		for _, c := range open {
			_ = c.close() // the gateway is stopped next
		}
	}()
	deadline := time.Now().Add(time.Minute)
	for range n {
		c, err := dialClient(t.stdioCall("legacy"), deadline)
		if err != nil {
			return err
		}
		open = append(open, c)
		if err := c.do(); err != nil {
			return err
		}
	}
	return f()
}

func (t *target) stdioCall(server string) endpoint {
	return endpoint{Addr: t.addr, Path: "/servers/" + server + "/mcp", Era: legacy, Op: opEcho, Tool: "echo"}
}

// residentParts is the memory of the gateway with its helpers.
func (t *target) residentParts() (all int64, err error) {
	parts, _ := family(t.proc.pid())
	for _, pid := range parts {
		rss, err := resident(pid)
		if err != nil {
			return 0, err
		}
		all += rss
	}
	return all, nil
}

func (w *world) startReady(name string, servers map[string]any) (*target, error) {
	t, err := w.startGateway(name, servers)
	if err != nil {
		return nil, err
	}
	if err := t.await("/health/ready", 10*time.Second); err != nil {
		t.proc.stop()
		return nil, err
	}
	return t, nil
}

// shootSpares compares the first call of a session for which a process waits
// already with that of a session at a shared process. Each opens its session,
// calls, and ends it; whoever comes first pays for waking up.
func (w *world) shootSpares(s *settings, rep *report) error {
	t, err := w.startReady("spares", w.isolatedConfigs()["spares"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	for i := range 4 * s.shots {
		time.Sleep(s.settle() / 4) // for the next spare
		order := []string{"common", "legacy"}
		took := map[string]time.Duration{}
		for j := range order {
			server := order[(i+j)%2]
			if took[server], err = t.firstCall(server); err != nil {
				return err
			}
		}
		shared, own := took["common"], took["legacy"]
		rep.figure("first-shared-ms", "session and its first call, shared process", "ms", millis(shared))
		rep.figure("first-spare-ms", "the same, with a process of its own that waited for it", "ms", millis(own))
		rep.figure("handover-ms", "what handing over that process takes", "ms", max(0, millis(own-shared)))
	}
	return nil
}

func (t *target) firstCall(server string) (time.Duration, error) {
	began := time.Now()
	c, err := dialClient(t.stdioCall(server), began.Add(10*time.Second))
	if err != nil {
		return 0, err
	}
	err = c.do()
	took := time.Since(began)
	if cerr := c.close(); err == nil {
		err = cerr
	}
	return took, err
}

// sleepyIdle is after how long without a call the process is stopped.
const sleepyIdle = 300 * time.Millisecond

// shootSleep takes the time of a call for which the process is started, of the
// next one, and from when the process is due to be stopped until it is gone.
func (w *world) shootSleep(s *settings, rep *report) error {
	t, err := w.startReady("sleepy", w.isolatedConfigs()["sleepy"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	c, err := dialClient(t.stdioCall("legacy"), time.Now().Add(2*time.Minute))
	if err != nil {
		return err
	}
	defer c.drop()
	for range s.shots {
		if _, err := t.asleep(); err != nil {
			return err
		}
		var took [2]time.Duration
		for i := range took {
			began := time.Now()
			if err := c.do(); err != nil {
				return err
			}
			took[i] = time.Since(began)
		}
		gone, err := t.asleep()
		if err != nil {
			return err
		}
		rep.figure("cold-ms", "call for which the process is started", "ms", millis(took[0]))
		rep.figure("warm-ms", "the next call", "ms", millis(took[1]))
		rep.figure("idle-stop-ms", "due to be stopped → gone", "ms", max(0, millis(gone-sleepyIdle)))
	}
	return nil
}

// asleep waits until the gateway has no server's process, and tells how long that took.
func (t *target) asleep() (time.Duration, error) {
	began := time.Now()
	for time.Since(began) < sleepyIdle+10*time.Second {
		if _, rest := family(t.proc.pid()); len(rest) == 0 {
			return time.Since(began), nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("%s: the process of its server is not stopped", t.proc.name)
}

const framed = 16 << 20

// shootFraming compares the CPU that reading a line of 16 MiB from a process
// takes with that of copying so many bytes.
func (w *world) shootFraming(s *settings, rep *report) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	p, err := runner.Start(runner.Command{Server: "pour", Path: self, Args: []string{"pour"}, Env: os.Environ()}, runner.Options{MaxLine: framed})
	if err != nil {
		return err
	}
	defer func() { _ = p.Stop(w.ctx) }() // it has nothing to finish
	from, to := bytes.Repeat([]byte("x"), framed), make([]byte, framed)
	for range 4 * s.shots {
		var failed error
		m := mcp.GetBuffer(0)
		read := selfTime(func() { failed = p.Read(m) })
		if failed != nil || len(m.B) != framed {
			return fmt.Errorf("a line of %d bytes: %w", len(m.B), failed)
		}
		m.Free()
		const copies = 4 // one takes little time
		copied := selfTime(func() {
			for range copies {
				copy(to, from)
			}
		}) / copies
		rep.figure("framing-ms", "framing 16 MiB, CPU", "ms", millis(read))
		rep.figure("framing-ratio", "that to copying 16 MiB", "×", float64(read)/float64(max(copied, time.Microsecond)))
	}
	return nil
}

// selfTime is the CPU that f takes, with all that this process does meanwhile.
func selfTime(f func()) time.Duration {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it has no error with these arguments
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	before := used()
	f()
	return used() - before
}

// pourMain writes lines of 16 MiB until nobody reads them.
func pourMain([]string) error {
	line := slices.Concat(bytes.Repeat([]byte("x"), framed), []byte("\n"))
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	for {
		if _, err := os.Stdout.Write(line); err != nil {
			return err
		}
	}
}
