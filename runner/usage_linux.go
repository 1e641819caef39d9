package runner

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// usageAge is how old the look at the system may be where there are no control groups: one look then
// serves all instances that are asked for one after the other.
const usageAge = time.Second

const tick = time.Second / 100 // the unit of CPU time in /proc, the same on all Linux systems

// Usage tells what the processes of the instance use now.
func (p *Process) Usage() (Usage, error) {
	select {
	case <-p.done:
		return Usage{}, errors.New(p.name() + ": process has ended")
	default:
		return p.place.group.usage(), nil
	}
}

func (g *group) usage() Usage {
	u := Usage{}
	for _, s := range g.members(usageAge) {
		u.Processes++
		u.RSS += s.pages * uint64(os.Getpagesize())
		u.CPU += time.Duration(s.ticks) * tick
		u.Files += openFiles(s.pid)
	}
	if dir := g.dirs[""]; dir != "" { // which knows of those that have ended, too
		u.CPU = max(u.CPU, time.Duration(count(dir, "cpu.stat", "usage_usec"))*time.Microsecond)
	}
	return u
}

// members are the living processes of the instance, as they were at most some time ago.
func (g *group) members(age time.Duration) []stat {
	top := g.held()
	if top == "" {
		return residents.members(g.id, age)
	}
	var all []stat
	for _, dir := range subgroups(top) {
		for _, pid := range members(dir) {
			if s, err := readStat(pid); err == nil && !s.zombie() {
				all = append(all, s)
			}
		}
	}
	return all
}

// openFiles counts the file descriptors of a process.
func openFiles(pid int) int {
	path := filepath.Join("/proc", strconv.Itoa(pid), "fd")
	if info, err := os.Stat(path); err == nil && info.Size() > 0 { // Linux 6.2 and later
		return int(info.Size())
	}
	dir, err := os.Open(path)
	if err != nil {
		return 0
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	return len(names)
}
