// Package machine tells what a process may have of the machine it runs on: what its control groups leave it.
package machine

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Least is the least of those that are known; 0 when none is.
func Least(all ...int64) (n int64) {
	for _, a := range all {
		if a > 0 && a < math.MaxInt64 && (n == 0 || a < n) {
			n = a
		}
	}
	return n
}

// Memory is the least limit, in bytes, of the control groups that the process is in; 0 when there is none. root stands before /proc
// and /sys.
func Memory(root string) int64 {
	return least(root, "memory", "memory.max", "memory.limit_in_bytes", number)
}

// Pids is the least limit of processes and threads; 0 when there is none.
func Pids(root string) int64 { return least(root, "pids", "pids.max", "pids.max", number) }

// CPU is the least limit of CPUs, in thousandths; 0 when there is none.
func CPU(root string) int64 { return least(root, "cpu", "cpu.max", "cpu.cfs_quota_us", quota) }

// least looks at the control groups of the process and those above them: those of version 2, and those of version 1 with a controller.
func least(root, controller, file2, file1 string, read func(string) int64) (most int64) {
	groups, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(groups)) {
		_, of, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, _ := strings.Cut(of, ":")
		mount, file := filepath.Join(root, "sys/fs/cgroup"), file2
		switch {
		case controllers == "": // version 2
		case controllers == controller, controller == "cpu" && controllers == "cpu,cpuacct":
			mount, file = filepath.Join(mount, controllers), file1
		default:
			continue
		}
		for ; ; path = filepath.Dir(path) { // inside a container the path may be that outside
			most = Least(most, read(filepath.Join(mount, path, file)))
			if path == "/" || path == "." {
				break
			}
		}
	}
	return most
}

// number reads a file that holds one; 0 when it holds something else, as "max".
func number(file string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
	if err != nil || n > math.MaxInt64/2 {
		return 0 // version 1 says so that there is none
	}
	return n
}

// quota reads how much time of how much there is: "50000 100000", or the former alone, with the latter in a file beside it.
func quota(file string) int64 {
	b, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	fields := strings.Fields(string(b))
	if len(fields) == 1 {
		fields = append(fields, strconv.FormatInt(number(filepath.Join(filepath.Dir(file), "cpu.cfs_period_us")), 10))
	}
	if len(fields) != 2 {
		return 0
	}
	time, err := strconv.ParseInt(fields[0], 10, 64)
	of, err2 := strconv.ParseInt(fields[1], 10, 64)
	if err != nil || err2 != nil || time <= 0 || of <= 0 {
		return 0
	}
	return time * 1000 / of
}

// Installed is the memory that the machine has, in bytes; 0 when that is not known.
func Installed(root string) int64 {
	b, err := os.ReadFile(filepath.Join(root, "proc/meminfo"))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "MemTotal:"); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err == nil && kib > 0 && kib < math.MaxInt64>>10 {
				return kib << 10
			}
		}
	}
	return 0
}
