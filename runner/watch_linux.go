package runner

import (
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	watchEvery = 250 * time.Millisecond
	watchShare = 20 // a look takes at most this part of the time, however many processes there are
)

// watch looks at the instances whose memory or processes no control group bounds, and kills those over
// their limits. One goroutine does it for all, while there are any.
type watch struct {
	mu   sync.Mutex
	all  map[*Process]struct{}
	stop chan struct{} // closed to end the goroutine
	over chan struct{} // closed when it has ended
}

var watched watch

// add has the process looked at until remove, if there is anything to look at.
func (w *watch) add(p *Process) {
	if !p.place.group.needsWatch() {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all == nil {
		w.all = map[*Process]struct{}{}
	}
	w.all[p] = struct{}{}
	if len(w.all) == 1 {
		w.stop, w.over = make(chan struct{}), make(chan struct{})
		go w.run(w.stop, w.over)
	}
}

func (w *watch) remove(p *Process) {
	w.mu.Lock()
	_, there := w.all[p]
	delete(w.all, p)
	over := w.over
	last := there && len(w.all) == 0
	if last {
		close(w.stop)
	}
	w.mu.Unlock()
	if last {
		<-over
	}
}

func (w *watch) run(stop, over chan struct{}) {
	defer close(over)
	timer := time.NewTimer(watchEvery)
	defer timer.Stop()
	for {
		select {
		case <-stop:
			return
		case <-timer.C:
		}
		began := time.Now()
		for _, p := range w.list() {
			p.place.group.look(p.kill)
		}
		timer.Reset(max(watchEvery, watchShare*time.Since(began)))
	}
}

func (w *watch) list() []*Process {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := make([]*Process, 0, len(w.all))
	for p := range w.all {
		all = append(all, p)
	}
	return all
}

// needsWatch reports whether limits are left to the watch. A group of version 1 kills one process that
// is over its memory; the watch does the rest.
func (g *group) needsWatch() bool {
	l := g.watched()
	return l.Memory > 0 || l.Pids > 0 || g.in["memory"] != "" && g.in["memory"] != g.dirs[""]
}

// look calls kill when the instance is over a limit.
func (g *group) look(kill func(error)) {
	if dir := g.in["memory"]; dir != "" && count(dir, "memory.oom_control", "oom_kill") > 0 {
		kill(g.limits.overMemory())
		return
	}
	l := g.watched()
	if l.Memory == 0 && l.Pids == 0 {
		return
	}
	var memory uint64
	threads := 0
	all := g.members(watchEvery / 2)
	for _, s := range all {
		threads += s.threads
		memory += privateMemory(s.pid)
	}
	switch {
	case l.Pids > 0 && threads > l.Pids:
		kill(l.overPids())
	case l.Memory > 0 && memory > l.Memory && fairMemory(all, memory) > l.Memory:
		kill(l.overMemory())
	}
}

// privateMemory is the resident memory of a process without what files and other processes share.
func privateMemory(pid int) uint64 {
	data, _ := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/statm")
	fields := strings.Fields(string(data))
	if len(fields) < 3 {
		return 0
	}
	resident, _ := strconv.ParseUint(fields[1], 10, 64)
	shared, _ := strconv.ParseUint(fields[2], 10, 64)
	return (resident - min(resident, shared)) * uint64(os.Getpagesize())
}

// fairMemory counts memory that the processes have in common once, which costs more to find out. What
// cannot be found out counts as the estimate says.
func fairMemory(all []stat, estimate uint64) uint64 {
	if len(all) < 2 {
		return estimate
	}
	var sum uint64
	for _, s := range all {
		data, err := os.ReadFile("/proc/" + strconv.Itoa(s.pid) + "/smaps_rollup")
		if err != nil {
			return estimate
		}
		for line := range strings.Lines(string(data)) {
			if rest, ok := strings.CutPrefix(line, "Pss_Anon:"); ok {
				kib, _ := strconv.ParseUint(strings.Fields(rest)[0], 10, 64)
				sum += kib << 10
			}
		}
	}
	return sum
}
