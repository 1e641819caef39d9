package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// shootParked compares a call that asks its client once with two ordinary
// ones, and holds many such calls open before they are answered.
func (w *world) shootParked(s *settings, rep *report) error {
	if !w.holds("parked", s.held) {
		return nil
	}
	t, err := w.startGateway("parked", w.configs()["parked"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	if err := t.await("/health/ready", 10*time.Second); err != nil {
		return err
	}
	call := endpoint{Path: "/servers/legacy/mcp", Era: modern, Op: opEcho, Tool: "echo"}
	asks := call
	asks.Op, asks.Tool = opAsk, string(opAsk)
	// A gateway waits a moment for more questions, so it takes many to keep it busy.
	const busy = 3
	err = w.inTurn(s, rep, t,
		job{endpoint: call, Conns: s.conns, Warm: s.window() / 5, For: s.window()},
		job{endpoint: asks, Conns: busy * s.conns, Warm: s.window() / 5, For: s.window()},
		2, "ask", "call that asks its client once, modern → legacy")
	if err != nil {
		return err
	}
	t.proc.stop()
	return w.park(s, rep, asks)
}

// park holds calls open and ends them. The memory before is that of a gateway
// which served a few such calls already.
func (w *world) park(s *settings, rep *report, asks endpoint) error {
	t, err := w.startGateway("parked", w.configs()["parked"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	if err := t.await("/health/ready", 10*time.Second); err != nil {
		return err
	}
	asks.Addr = t.addr
	hold := func(c *client, _ string) (string, error) { return c.ask() }
	free := func(c *client, state string) (string, error) { return "", c.agree(state) }
	both := func(c *client, _ string) (string, error) { return "", c.do() }
	if _, err := onMany(asks, make([]string, min(s.held, 100)), both); err != nil {
		return err
	}
	time.Sleep(s.settle())
	before, err := resident(t.proc.pid())
	if err != nil {
		return err
	}
	states, err := onMany(asks, make([]string, s.held), hold)
	if err != nil {
		return err
	}
	time.Sleep(s.settle())
	held, err := resident(t.proc.pid())
	if err != nil {
		return err
	}
	rep.figure("parked-kib", fmt.Sprintf("resident memory for each of %d parked calls", s.held), "KiB", max(0, float64(held-before)/1024/float64(s.held)))
	_, err = onMany(asks, states, free)
	return err
}

// onMany does something for each of a number of states, on some connections.
func onMany(e endpoint, in []string, do func(*client, string) (string, error)) ([]string, error) {
	const hands = 64
	out := make([]string, len(in))
	failed := make([]error, hands)
	var wait sync.WaitGroup
	for hand := range hands {
		wait.Go(func() {
			c, err := dialClient(e, time.Now().Add(time.Minute))
			if err != nil {
				failed[hand] = err
				return
			}
			defer c.drop()
			for i := hand; i < len(in) && failed[hand] == nil; i += hands {
				out[i], failed[hand] = do(c, in[i])
			}
		})
	}
	wait.Wait()
	return out, errors.Join(failed...)
}
