package testenv

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
)

// Child is one process of a stdio server.
type Child struct {
	hello
	// Done is closed when the child has ended.
	Done chan struct{}

	conn   net.Conn
	ready  atomic.Bool
	mu     sync.Mutex
	paused chan struct{} // closed when it reads again; nil when it never paused
}

// Var is a variable of the child's environment; empty when it has none of that name.
func (c *Child) Var(name string) string {
	for _, v := range c.Env {
		if value, ok := strings.CutPrefix(v, name+"="); ok {
			return value
		}
	}
	return ""
}

// Alive tells whether a process runs; a zombie does not.
func Alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return !os.IsNotExist(err)
	}
	_, state, _ := bytes.Cut(stat, []byte(") "))
	return !bytes.HasPrefix(state, []byte("Z")) && !bytes.HasPrefix(state, []byte("X"))
}

// Processes are the running processes that have an argument; it needs /proc.
func Processes(argument string) []int {
	entries, _ := os.ReadDir("/proc") // without it none is found
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		line, err := os.ReadFile("/proc/" + e.Name() + "/cmdline")
		if err == nil && bytes.Contains(line, append([]byte{0}, argument...)) && Alive(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// Descendant is a process below another one.
type Descendant struct {
	PID    int
	Zombie bool // it has ended, and nobody has waited for it
}

// Parent is the process that a process is a child of; 0 when it is gone.
func Parent(pid int) int {
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return 0
	}
	_, parent := lineage(stat)
	return parent
}

// lineage reads the state and the parent in a stat file.
func lineage(stat []byte) (state string, parent int) {
	_, _ = fmt.Sscan(string(stat[bytes.LastIndexByte(stat, ')')+1:]), &state, &parent) // a name may hold anything
	return state, parent
}

// Descendants are the processes below a process, at any depth; it needs /proc.
func Descendants(root int) []Descendant {
	files, _ := filepath.Glob("/proc/[0-9]*/stat") // the pattern is right
	children := map[int][]Descendant{}
	for _, file := range files {
		stat, err := os.ReadFile(file)
		if err != nil {
			continue // it is gone meanwhile
		}
		state, parent := lineage(stat)
		d := Descendant{Zombie: state == "Z"}
		_, _ = fmt.Sscan(string(stat), &d.PID)
		children[parent] = append(children[parent], d)
	}
	all := children[root]
	for i := 0; i < len(all); i++ {
		all = append(all, children[all[i].PID]...)
	}
	return all
}
