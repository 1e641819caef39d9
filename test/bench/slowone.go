package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// One of many servers takes very long; what do callers of the others notice?
const (
	slowServers = 20
	slowTools   = 10               // of each
	slowTime    = 20 * time.Second // until the slow one answers anything
	slowCalls   = 8                // that hang there at once
	slowName    = "slow"           // in its path
	slowPath    = "/__slow"        // has it be slow from now on
	quickPath   = "/__quick"       // and no more
	slowPace    = 10 * time.Millisecond
)

// slowOne are the servers, the slow one last. Its lists go stale at once, so that each list of all finds it slow.
func slowOne(remote func(string) any) map[string]any {
	return numbered(slowServers, func(n int) any {
		if n < slowServers-1 {
			return remote(fmt.Sprintf("/modern/%d/%d/mcp", slowTools, n))
		}
		slow := remote(fmt.Sprintf("/modern/%d/%s/mcp", slowTools, slowName)).(map[string]any)
		slow["listTTL"] = "100ms"
		return slow
	})
}

// shootSlowOne takes the time of calls to all servers but the slow one, before and while calls hang there, and that of a list of all.
func (w *world) shootSlowOne(s *settings, rep *report) error {
	t, err := w.startReady("slowone", w.configs()["slowone"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	if _, err := t.firstList(slowServers*slowTools, 15*time.Second); err != nil {
		return err
	}
	for range s.rounds {
		before, err := t.callQuick(s.window())
		if err == nil {
			err = w.slowRound(s, rep, t, before)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// slowRound compares calls while others hang with those of before.
func (w *world) slowRound(s *settings, rep *report, t *target, before time.Duration) error {
	up := &target{addr: w.upstream.addr}
	if _, _, err := up.ask(slowPath, time.Now().Add(slowTime)); err != nil {
		return err
	}
	leave, err := t.hang()
	defer leave()
	if err != nil {
		return err
	}
	time.Sleep(s.window() / 5)
	began := time.Now()
	if _, err := t.firstList(slowServers*slowTools, slowTime); err != nil {
		return err
	}
	listed := time.Since(began)
	with, err := t.callQuick(s.window())
	if err != nil {
		return err
	}
	rep.figure("slowone-before-ms", "p99 of calls to 19 servers", "ms", millis(before))
	rep.figure("slowone-while-ms", "that, while calls to the 20th hang", "ms", millis(with))
	rep.figure("slowone-ratio", "the one to the other", "×", float64(with)/float64(before))
	rep.figure("slowone-list-ms", "tools/list of all 20 meanwhile", "ms", millis(listed))
	_, _, err = up.ask(quickPath, time.Now().Add(slowTime))
	return err
}

// hang has calls wait at the slow server, until leave is called.
func (t *target) hang() (leave func(), err error) {
	var all sync.WaitGroup
	var over atomic.Bool
	var clients []*client
	leave = func() {
		over.Store(true)
		for _, c := range clients {
			c.drop()
		}
		all.Wait()
	}
	e := t.slowCall(slowServers - 1)
	for range slowCalls {
		c, err := dialClient(e, time.Now().Add(time.Minute))
		if err != nil {
			return leave, err
		}
		clients = append(clients, c)
		all.Go(func() {
			for !over.Load() && c.do() == nil {
			}
		})
	}
	return leave, nil
}

func (t *target) slowCall(n int) endpoint {
	return endpoint{Addr: t.addr, Path: "/mcp", Era: modern, Op: opEcho, Tool: fmt.Sprintf("s%02d__echo", n)}
}

// callQuick is the 99th percentile of calls to all servers but the slow one, one client for each, which calls again and again for a
// time, but leaves the gateway room to breathe.
func (t *target) callQuick(window time.Duration) (time.Duration, error) {
	deadline := time.Now().Add(window + grace)
	workers := make([]*worker, slowServers-1)
	defer closeAll(workers)
	for i := range workers {
		c, err := dialClient(t.slowCall(i), deadline)
		if err != nil {
			return 0, err
		}
		workers[i] = &worker{client: c, deadline: deadline}
	}
	end := time.Now().Add(window)
	each(workers, func(w *worker) {
		tick := time.NewTicker(slowPace)
		defer tick.Stop()
		for w.errors == 0 && time.Now().Before(end) {
			w.loop(time.Time{}, 1)
			<-tick.C
		}
	})
	var lat hist
	for _, w := range workers {
		if w.err != nil {
			return 0, w.err
		}
		lat.merge(&w.lat)
	}
	return lat.quantile(0.99), nil
}
