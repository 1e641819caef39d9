package runner

import (
	"bytes"
	"errors"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// stat is what /proc/PID/stat tells of a process.
type stat struct {
	pid, parent, group, session int
	state                       byte
	ticks                       uint64 // CPU time used
	threads                     int
	start                       uint64 // when it was started, in ticks since boot: with the pid, its identity
	pages                       uint64 // resident memory
}

func (s stat) zombie() bool { return s.state == 'Z' || s.state == 'X' }

var errStat = errors.New("/proc/PID/stat is not understood")

// readStat reads the state of a process.
func readStat(pid int) (stat, error) {
	data, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return stat{}, err
	}
	i := bytes.LastIndexByte(data, ')') // the name before it may hold anything
	if i < 0 {
		return stat{}, errStat
	}
	fields := strings.Fields(string(data[i+1:]))
	if len(fields) < 22 {
		return stat{}, errStat
	}
	n := func(i int) int { v, _ := strconv.Atoi(fields[i-3]); return v }
	u := func(i int) uint64 { v, _ := strconv.ParseUint(fields[i-3], 10, 64); return v }
	return stat{
		pid: pid, parent: n(4), group: n(5), session: n(6), state: fields[0][0],
		ticks: u(14) + u(15), threads: n(20), start: u(22), pages: u(24),
	}, nil
}

// processes calls f for each process of the system.
func processes(f func(pid int)) {
	dir, err := os.Open("/proc")
	if err != nil {
		return
	}
	defer func() { _ = dir.Close() }()
	names, _ := dir.Readdirnames(-1)
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil {
			f(pid)
		}
	}
}

// marked reports whether the environment of a process names the instance, or with a prefix that ends
// in a dot, any instance of that program.
func marked(pid int, id string) bool {
	env, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/environ")
	if err != nil {
		return false
	}
	entry := []byte(marker + "=" + id)
	for len(env) > 0 {
		i := bytes.Index(env, entry)
		if i < 0 {
			return false
		}
		end := i + len(entry)
		if (i == 0 || env[i-1] == 0) && (strings.HasSuffix(id, ".") || end == len(env) || env[end] == 0) {
			return true
		}
		env = env[end:]
	}
	return false
}

// catch finds the processes that carry the marker, and their descendants, and stops them, so that none
// can start more. Those started before since are others.
func catch(id string, since uint64) []int {
	var all []stat
	ours := map[int]bool{}
	self := os.Getpid()
	take := func(pid int) {
		ours[pid] = true
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	processes(func(pid int) {
		s, err := readStat(pid)
		if err != nil || s.zombie() || s.start < since || pid == self {
			return
		}
		all = append(all, s)
		if marked(pid, id) {
			take(pid)
		}
	})
	for more := len(ours) > 0; more; {
		more = false
		for _, s := range all {
			if ours[s.parent] && !ours[s.pid] {
				take(s.pid)
				more = true
			}
		}
	}
	return slices.Collect(maps.Keys(ours))
}

// endMarked kills what carries the marker until nothing does. It stops all first and kills then, for
// what is killed makes room for what still forks.
func endMarked(id string, since uint64, deadline time.Time) {
	for time.Now().Before(deadline) {
		caught := catch(id, since)
		if len(caught) == 0 {
			return
		}
		for before := 0; len(caught) > before && time.Now().Before(deadline); {
			before = len(caught)
			caught = catch(id, since)
		}
		for _, pid := range caught {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
		time.Sleep(time.Millisecond)
	}
}

// processesOf counts the processes and threads of a user.
func processesOf(uid int) (n int) {
	processes(func(pid int) {
		if info, err := os.Lstat("/proc/" + strconv.Itoa(pid)); err != nil || owner(info) != uid {
			return
		}
		if s, err := readStat(pid); err == nil {
			n += s.threads
		}
	})
	return n
}
