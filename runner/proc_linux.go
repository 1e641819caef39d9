package runner

import (
	"bytes"
	"errors"
	"os"
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

// killMarked kills all processes that carry the marker, and their descendants, and reports whether
// there were any. Nothing is killed that was started before since.
func killMarked(id string, since uint64) (found bool) {
	var all []stat
	ours := map[int]bool{}
	self := os.Getpid()
	processes(func(pid int) {
		s, err := readStat(pid)
		if err != nil || s.zombie() || s.start < since || pid == self {
			return
		}
		all = append(all, s)
		if marked(pid, id) {
			ours[pid] = true
		}
	})
	for more := len(ours) > 0; more; {
		more = false
		for _, s := range all {
			if ours[s.parent] && !ours[s.pid] {
				ours[s.pid], more = true, true
			}
		}
	}
	for _, s := range all {
		if ours[s.pid] {
			_ = syscall.Kill(s.pid, syscall.SIGKILL)
		}
	}
	return len(ours) > 0
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

// endMarked kills what carries the marker until nothing does.
func endMarked(id string, since uint64, deadline time.Time) {
	for killMarked(id, since) && time.Now().Before(deadline) {
		time.Sleep(2 * time.Millisecond)
	}
}
