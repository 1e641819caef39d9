package main

import (
	"encoding/json"
	"os"
	"time"
)

// watch reads, before and after a measurement, what the processes used and
// what reached the upstream.
type watch struct {
	j      *job
	stats  *client // an own connection, which the upstream does not count
	began  time.Time
	before reading
}

type reading struct {
	target, own, machine time.Duration // CPU
	known                bool
	up                   stats
}

func newWatch(j *job, deadline time.Time) (*watch, error) {
	w := &watch{j: j}
	if j.Upstream == "" {
		return w, nil
	}
	var err error
	w.stats, err = dialClient(endpoint{Addr: j.Upstream, Era: modern}, deadline)
	return w, err
}

func (w *watch) close() {
	if w.stats != nil {
		w.stats.drop()
	}
}

func (w *watch) start() error {
	var err error
	w.before, err = w.read()
	w.began = time.Now()
	return err
}

func (w *watch) stop() (*sample, error) {
	s := &sample{Took: time.Since(w.began), CPU: -1, Others: -1}
	after, err := w.read()
	if err != nil {
		return nil, err
	}
	if w.before.known && after.known {
		s.CPU = after.target - w.before.target
		strangers := after.machine - w.before.machine - s.CPU - (after.own - w.before.own)
		s.Others = max(0, strangers.Seconds()/s.Took.Seconds())
	}
	s.Requests = after.up.Requests - w.before.up.Requests
	s.Conns = after.up.Conns - w.before.up.Conns
	if w.j.Target > 0 {
		s.RSS, _ = resident(w.j.Target) // 0 where it cannot be read
	}
	return s, nil
}

func (w *watch) read() (reading, error) {
	var r reading
	var err error
	if w.stats != nil {
		if r.up, err = readStats(w.stats); err != nil {
			return r, err
		}
	}
	if w.j.Target <= 0 {
		return r, nil
	}
	for _, pid := range append([]int{os.Getpid()}, w.j.Own...) {
		t, err := cpuTime(pid)
		if err != nil {
			return r, nil //nolint:nilerr // unknown, which is no reason to stop
		}
		r.own += t
	}
	var err1, err2 error
	r.target, err1 = cpuTime(w.j.Target)
	r.machine, err2 = machineTime()
	r.known = err1 == nil && err2 == nil
	return r, nil
}

func readStats(c *client) (stats, error) {
	var s stats
	_, body, err := c.get(statsPath)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}
