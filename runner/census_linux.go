package runner

import (
	"bytes"
	"maps"
	"os"
	"strconv"
	"sync"
	"time"
)

// census finds the processes of all instances where no control group holds them, in one look at the
// system: by the marker in their environment, and by their parents.
type census struct {
	mu    sync.Mutex
	taken time.Time
	known map[int]resident
	of    map[string][]stat // by id of the instance
}

// resident is what was found out about a process once.
type resident struct {
	start uint64
	id    string // of its instance, empty for none
	looks int    // how often it was looked at without finding one
}

var residents census

const looksMost = 4 // a process that has no marker by then gets none: it was seen before it was executed

// members returns the processes of an instance, as they were at most some time ago.
func (c *census) members(id string, age time.Duration) []stat {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.taken) > age || c.of == nil {
		c.take()
	}
	return c.of[id]
}

// take looks at all processes. Called with mu held.
func (c *census) take() {
	all := map[int]stat{}
	now := map[int]resident{}
	processes(func(pid int) {
		s, err := readStat(pid)
		if err != nil || s.zombie() || pid == os.Getpid() {
			return
		}
		all[pid] = s
		r, ok := c.known[pid]
		if !ok || r.start != s.start {
			r = resident{start: s.start}
		}
		if r.id == "" && r.looks < looksMost {
			r.id, r.looks = markerOf(pid), r.looks+1
		}
		now[pid] = r
	})
	for more := true; more; {
		more = false
		for pid, r := range now {
			if above := now[all[pid].parent]; r.id == "" && above.id != "" {
				r.id, more = above.id, true
				now[pid] = r
			}
		}
	}
	c.known, c.of, c.taken = now, map[string][]stat{}, time.Now()
	for pid := range maps.Keys(now) {
		if id := now[pid].id; id != "" {
			c.of[id] = append(c.of[id], all[pid])
		}
	}
}

// markerOf is the id of the instance of this program that the environment of a process names.
func markerOf(pid int) string {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return ""
	}
	_, after, ok := bytes.Cut(env, []byte(marker+"="+program()+"."))
	if !ok {
		return ""
	}
	number, _, _ := bytes.Cut(after, []byte{0})
	return program() + "." + string(number)
}
