package main

import (
	"bytes"
	"context"
	"fmt"
	"time"
)

// shot measures figures that no closed loop shows.
type shot struct {
	name string // for -only
	run  func(*world, *settings, *report) error
}

var shots = []shot{
	{"start", (*world).shootStart},
	{"many", (*world).shootMany},
	{"instances", (*world).shootInstances},
	{"spares", (*world).shootSpares},
	{"sleep", (*world).shootSleep},
	{"framing", (*world).shootFraming},
	{"sessions", (*world).shootSessions},
	{"parked", (*world).shootParked},
	{"streams", (*world).shootStreams},
	{"listen", (*world).shootListen},
	{"filter", (*world).shootFilter},
	{"audit", (*world).shootAudit},
	{"slowone", (*world).shootSlowOne},
}

func (w *world) shoot(ctx context.Context, s *settings, rep *report) error {
	if w.gateway == "" {
		return nil
	}
	for _, shot := range shots {
		if !chosen(s.only, shot.name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		fmt.Fprintln(s.log, "once:", shot.name)
		if err := shot.run(w, s, rep); err != nil {
			return fmt.Errorf("%s: %w", shot.name, err)
		}
	}
	return nil
}

func (r *report) figure(name, title, unit string, v float64) {
	for i := range r.Figures {
		if r.Figures[i].Name == name {
			r.Figures[i].Values = append(r.Figures[i].Values, v)
			return
		}
	}
	r.Figures = append(r.Figures, figure{name, title, unit, []float64{v}})
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func mebibytes(n int64) float64 { return float64(n) / (1 << 20) }

// shootStart takes the time from exec until ready, and the memory of a gateway
// that nobody has asked anything.
func (w *world) shootStart(s *settings, rep *report) error {
	for range s.shots {
		t, err := w.startGateway("idle", w.configs()["calls"])
		if err != nil {
			return err
		}
		err = t.await("/health/ready", 10*time.Second)
		took := time.Since(t.proc.started)
		if err == nil {
			time.Sleep(s.settle())
			err = rep.memory(t, "idle-rss-mib", "resident memory, idle")
		}
		t.proc.stop()
		if err != nil {
			return err
		}
		rep.figure("ready-ms", "exec → /health/ready", "ms", millis(took))
	}
	return nil
}

// settle is how long memory is left alone before it is read.
func (s *settings) settle() time.Duration { return min(s.window(), time.Second) }

func (r *report) memory(t *target, name, title string) error {
	rss, err := resident(t.proc.pid())
	if err == nil {
		r.figure(name, title, "MiB", mebibytes(rss))
	}
	return err
}

// shootMany takes the time from exec until the first list that has the tools
// of all 100 servers.
func (w *world) shootMany(s *settings, rep *report) error {
	for range s.shots {
		t, err := w.startGateway("first", w.configs()["many"])
		if err != nil {
			return err
		}
		lists, err := t.firstList(1000, 15*time.Second)
		took := time.Since(t.proc.started)
		t.proc.stop()
		if err != nil {
			return err
		}
		rep.figure("first-list-ms", "exec → first tools/list with all 1,000 tools of 100 servers", "ms", millis(took))
		rep.figure("first-list-asked", "lists asked until then", "lists", float64(lists))
	}
	return nil
}

// firstList asks for the list until it has so many tools, and returns how
// often it was answered.
func (t *target) firstList(tools int, limit time.Duration) (int, error) {
	deadline := time.Now().Add(limit)
	e := endpoint{Addr: t.addr, Path: "/mcp", Era: modern, Op: opList, Size: tools}
	last := fmt.Errorf("nothing listens on %s", t.addr)
	for lists := 0; time.Now().Before(deadline); {
		c, err := dialClient(e, deadline)
		if err != nil {
			last = err
			time.Sleep(200 * time.Microsecond)
			continue
		}
		lists++
		last = c.do()
		c.drop()
		if last == nil {
			return lists, nil
		}
		time.Sleep(time.Millisecond)
	}
	return 0, fmt.Errorf("no full list: %w %s", last, t.proc.said.String())
}

// shootSessions opens legacy sessions, uses each, and deletes them. The memory
// before is that of a gateway which served the same traffic already, with
// sessions that ended at once, so that the growth is what holding them costs.
func (w *world) shootSessions(s *settings, rep *report) error {
	before, err := w.upstreamSessions()
	if err != nil {
		return err
	}
	t, err := w.startGateway("sessions", w.configs()["held"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	if err := t.await("/health/ready", 10*time.Second); err != nil {
		return err
	}
	h := &holder{t: endpoint{Addr: t.addr, Path: "/mcp", Era: legacy, Op: opList, Size: 100}, deadline: time.Now().Add(s.wait + 2*time.Minute)}
	base, err := w.settled(t, s, h)
	if err != nil {
		return err
	}
	if err := h.open(s.held, true); err != nil {
		return err
	}
	time.Sleep(s.settle())
	held, err := resident(t.proc.pid())
	if err != nil {
		return err
	}
	rep.figure("sessions-base-mib", "resident memory after sessions came and went", "MiB", mebibytes(base))
	rep.figure("sessions-mib", fmt.Sprintf("growth with %d legacy sessions held", s.held), "MiB", max(0, mebibytes(held-base)))
	up, err := w.upstreamSessions()
	if err != nil {
		return err
	}
	rep.figure("sessions-upstream", "sessions open at the server meanwhile", "sessions", float64(up-before))
	return giveBack(t, s, rep, h, base)
}

// settled lets sessions come and go until that takes no more memory, for the
// heap grows at first under any traffic, and returns the memory then.
func (w *world) settled(t *target, s *settings, h *holder) (int64, error) {
	const near, batches = 256 << 10, 20
	var last int64
	for range batches {
		if err := h.open(s.held, false); err != nil {
			return 0, err
		}
		now, err := resident(t.proc.pid())
		if err != nil {
			return 0, err
		}
		if now < last+near && last > 0 {
			break
		}
		last = now
	}
	time.Sleep(s.settle())
	return resident(t.proc.pid())
}

// giveBack deletes the sessions and waits for the memory to return.
func giveBack(t *target, s *settings, rep *report, h *holder, base int64) error {
	if err := h.end(); err != nil {
		return err
	}
	const near = 512 << 10 // less is noise
	began := time.Now()
	left, err := resident(t.proc.pid())
	for err == nil && left > base+near && time.Since(began) < s.wait {
		time.Sleep(100 * time.Millisecond)
		left, err = resident(t.proc.pid())
	}
	if err != nil {
		return err
	}
	rep.figure("sessions-left-mib", "of that left after DELETE", "MiB", max(0, mebibytes(left-base)))
	rep.figure("sessions-left-s", "waited for that", "s", time.Since(began).Seconds())
	return nil
}

func (w *world) upstreamSessions() (int64, error) {
	c, err := dialClient(endpoint{Addr: w.upstream.addr, Era: modern}, time.Now().Add(5*time.Second))
	if err != nil {
		return 0, err
	}
	defer c.drop()
	s, err := readStats(c)
	return s.Sessions, err
}

// holder opens many sessions over one connection.
type holder struct {
	t        endpoint
	deadline time.Time
	conn     *client
	ids      []string
}

// open opens n sessions; each asks for a list and calls a tool. They are kept
// or deleted at once.
func (h *holder) open(n int, keep bool) error {
	var err error
	if h.conn == nil {
		if h.conn, err = dialClient(h.t, h.deadline); err != nil {
			return err
		}
		if err := h.conn.endSession(); err != nil {
			return err
		}
	}
	for range n {
		if err := h.one(); err != nil {
			return err
		}
		if keep {
			h.ids = append(h.ids, h.conn.session)
		} else if err := h.conn.endSession(); err != nil {
			return err
		}
	}
	return nil
}

func (h *holder) one() error {
	c := h.conn
	if err := c.openSession(); err != nil {
		return err
	}
	c.req = c.t.measured(c.session)
	if err := c.do(); err != nil {
		return err
	}
	call := c.t
	call.Op, call.Tool = opEcho, "legacy__echo"
	if err := c.send(call.measured(c.session)); err != nil {
		return err
	}
	if c.resp.status != 200 || !bytes.Contains(c.resp.body, []byte(`"content":[`)) {
		return fmt.Errorf("call in a session: status %d: %.200s", c.resp.status, c.resp.body)
	}
	return nil
}

func (h *holder) end() error {
	for _, id := range h.ids {
		h.conn.session = id
		if err := h.conn.endSession(); err != nil {
			return err
		}
	}
	h.ids = nil
	return h.conn.close()
}
