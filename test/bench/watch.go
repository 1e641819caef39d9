package main

import (
	"encoding/json"
	"errors"
	"os"
	"time"
)

// watch reads, before and after a measurement, what the processes used and
// what reached the upstream.
type watch struct {
	j      *job
	stats  *client // an own connection, which the upstream does not count
	parts  []int   // processes of the target
	own    []int   // of the benchmark, and what the target bridges to
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
	w.parts, w.own = nil, append([]int{os.Getpid()}, w.j.Own...)
	if w.j.Target > 0 {
		parts, rest := family(w.j.Target)
		w.parts, w.own = parts, append(w.own, rest...)
	}
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
	for _, pid := range w.parts {
		rss, _ := resident(pid) // 0 where it cannot be read
		s.RSS += rss
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
	var err1, err2, err3 error
	r.own, err1 = cpuTimes(w.own)
	r.target, err2 = cpuTimes(w.parts)
	r.machine, err3 = machineTime()
	r.known = errors.Join(err1, err2, err3) == nil // unknown is no reason to stop
	return r, nil
}

func cpuTimes(pids []int) (all time.Duration, err error) {
	for _, pid := range pids {
		t, err := cpuTime(pid)
		if err != nil {
			return 0, err
		}
		all += t
	}
	return all, nil
}

// family returns the processes that are a target, itself and those of the same
// program below it, and the others below it: the servers it bridges to.
func family(target int) (parts, rest []int) {
	parts = []int{target}
	program := programOf(target)
	for _, pid := range descendants(target) {
		if programOf(pid) == program {
			parts = append(parts, pid)
		} else {
			rest = append(rest, pid)
		}
	}
	return parts, rest
}

func descendants(pid int) []int {
	all := children(pid)
	for i := 0; i < len(all); i++ {
		all = append(all, children(all[i])...)
	}
	return all
}

func readStats(c *client) (stats, error) {
	var s stats
	_, body, err := c.get(statsPath)
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(body, &s)
}
