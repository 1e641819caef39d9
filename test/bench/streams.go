package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// holds tells whether so many connections can be open at once, and notes why not.
func (w *world) holds(what string, n int) bool {
	const spare = 200
	if have := openFiles(); have < uint64(n+spare) {
		w.note("%s: left out, for %d open files are allowed and %d needed; raise the hard limit of ulimit -n", what, have, n+spare)
		return false
	}
	return true
}

// inTurn measures an ordinary call and something else round after round, and
// reports what the other costs, and how often that is the cost of so many ordinary ones.
func (w *world) inTurn(s *settings, rep *report, t *target, ordinary, other job, times float64, name, title string) error {
	for range s.rounds {
		var cost [2]float64
		for i, j := range [...]job{ordinary, other} {
			j.Addr, j.Target, j.Upstream = t.addr, t.proc.pid(), w.upstream.addr
			j.Own = []int{w.upstream.proc.pid()}
			got, err := w.load.measure(j)
			if err != nil {
				return err
			}
			if got.Errors > 0 {
				return fmt.Errorf("%d errors: %s", got.Errors, got.Error)
			}
			cost[i] = got.perCall()
		}
		if cost[0] > 0 && cost[1] > 0 {
			rep.figure(name+"-us", title, "µs CPU", cost[1])
			rep.figure(name+"-ratio", fmt.Sprintf("that, to the cost of ordinary calls (%g)", times), "×", cost[1]/cost[0]/times)
		}
	}
	return nil
}

// shootListen compares opening and closing a stream with an ordinary call.
func (w *world) shootListen(s *settings, rep *report) error {
	t, err := w.watching()
	if err != nil {
		return err
	}
	defer t.proc.stop()
	stay, err := t.listener().openListen(0) // so that the server itself stays watched
	if err != nil {
		return err
	}
	defer stay.drop()
	path := "/servers/modern/mcp"
	return w.inTurn(s, rep, t,
		job{endpoint: endpoint{Path: path, Era: modern, Op: opEcho, Tool: "echo"}, Conns: s.conns, Warm: s.window() / 5, For: s.window()},
		job{endpoint: endpoint{Path: path, Era: modern, Op: opListen}, Conns: s.conns, Warm: s.window() / 5, Calls: s.streams / 2},
		1, "listen", "listen stream opened and closed")
}

// watching starts a gateway in front of a server that tells of changes.
func (w *world) watching() (*target, error) {
	t, err := w.startGateway("watch", w.configs()["watch"])
	if err == nil {
		err = t.await("/health/ready", 10*time.Second)
	}
	return t, err
}

func (t *target) listener() *client {
	return &client{t: endpoint{Addr: t.addr, Path: "/servers/modern/mcp", Era: modern, Op: opListen}}
}

// shootStreams holds many listen streams open and has all told of changes. The
// memory before is that of a gateway which served a few already.
func (w *world) shootStreams(s *settings, rep *report) error {
	if !w.holds("streams", s.streams) {
		return nil
	}
	t, err := w.watching()
	if err != nil {
		return err
	}
	defer t.proc.stop()
	few, err := openStreams(t.listener(), min(s.streams, 50))
	closeStreams(few)
	if err != nil {
		return err
	}
	time.Sleep(s.settle())
	before, err := t.size()
	if err != nil {
		return err
	}
	began := time.Now()
	all, err := openStreams(t.listener(), s.streams)
	defer closeStreams(all)
	if err != nil {
		return err
	}
	rep.figure("streams-open-s", fmt.Sprintf("%d listen streams opened in", s.streams), "s", time.Since(began).Seconds())
	time.Sleep(s.settle())
	after, err := t.size()
	if err != nil {
		return err
	}
	rep.figure("stream-kib", "resident memory for each of them", "KiB", float64(after.rss-before.rss)/1024/float64(s.streams))
	// The stray goroutines are those that collect garbage and the like.
	const stray = 16
	rep.figure("stream-goroutines", "goroutines for each of them", "goroutines", max(0, after.goroutines-before.goroutines-stray)/float64(s.streams))
	for range s.shots {
		if err := w.change(t, rep, all); err != nil {
			return err
		}
	}
	return nil
}

// size is what a gateway takes.
type size struct {
	rss        int64
	goroutines float64
}

func (t *target) size() (z size, err error) {
	status, page, err := t.ask("/metrics", time.Now().Add(patience))
	if err == nil && status != 200 {
		err = fmt.Errorf("/metrics: status %d", status)
	}
	if err != nil {
		return z, err
	}
	var err1, err2 error
	z.goroutines, err1 = metric(page, "go_goroutines")
	z.rss, err2 = resident(t.proc.pid())
	return z, errors.Join(err1, err2)
}

// openStreams opens many streams, some at a time.
func openStreams(c *client, n int) ([]*client, error) {
	const hands = 32
	all := make([]*client, n)
	failed := make([]error, hands)
	var wait sync.WaitGroup
	for hand := range hands {
		wait.Go(func() {
			for i := hand; i < n && failed[hand] == nil; i += hands {
				all[i], failed[hand] = c.openListen(i)
			}
		})
	}
	wait.Wait()
	return all, errors.Join(failed...)
}

func closeStreams(all []*client) {
	for _, c := range all {
		if c != nil {
			c.drop()
		}
	}
}

// change has the server's list change, and takes the CPU until all know it.
func (w *world) change(t *target, rep *report, all []*client) error {
	before, err := cpuTime(t.proc.pid())
	if err != nil {
		return err
	}
	began := time.Now()
	if status, _, err := w.upstream.ask(changePath, began.Add(patience)); err != nil || status != 200 {
		return fmt.Errorf("change: status %d: %w", status, err)
	}
	for _, c := range all {
		err := c.wire.conn.SetReadDeadline(time.Now().Add(patience))
		if err == nil {
			err = c.hear(listChanged)
		}
		if err != nil {
			return err
		}
	}
	took := time.Since(began)
	after, err := cpuTime(t.proc.pid())
	rep.figure("change-s", "a change told to all of them", "s", took.Seconds())
	rep.figure("change-cpu-s", "CPU for that", "s", (after - before).Seconds())
	return err
}
