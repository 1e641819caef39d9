package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// tick is the unit of CPU times in /proc/stat: USER_HZ is 100 on every port of Go.
const tick = 10 * time.Millisecond

// cpus picks the CPU of the gateway and that of load and upstream; ok is false
// when there are not two to have.
func cpus() (gateway, load int, ok bool) {
	var set unix.CPUSet
	if unix.SchedGetaffinity(0, &set) != nil || set.Count() < 2 {
		return -1, -1, false
	}
	load = -1
	for i := range 1024 {
		if !set.IsSet(i) {
			continue
		}
		if load < 0 {
			load = i
		}
		gateway = i
	}
	return gateway, load, true
}

// startPinned starts cmd on one CPU (any when negative); it dies with us.
func startPinned(cmd *exec.Cmd, cpu int) error {
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if cpu < 0 {
		return cmd.Start()
	}
	// The child inherits the CPUs of the thread that forks it.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var old, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &old); err != nil {
		return fmt.Errorf("read affinity: %w", err)
	}
	one.Set(cpu)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pin to CPU %d: %w", cpu, err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &old) }() // it was valid before
	return cmd.Start()
}

// pinSelf moves all threads of this process to one CPU. New threads inherit it.
func pinSelf(cpu int) {
	if cpu < 0 {
		return
	}
	var one unix.CPUSet
	one.Set(cpu)
	threads, _ := os.ReadDir("/proc/self/task")
	for _, t := range threads {
		if id, err := strconv.Atoi(t.Name()); err == nil {
			_ = unix.SchedSetaffinity(id, &one) // a thread may have ended since
		}
	}
}

// cpuTime is the user and system time of a process so far, its children left
// out, to the nanosecond: /proc/PID/stat knows hundredths of a second only.
func cpuTime(pid int) (time.Duration, error) {
	const allThreads = 2 // CPUCLOCK_SCHED of a process in the kernel's clock ids, see clock_getcpuclockid(3)
	var t unix.Timespec
	if err := unix.ClockGettime(int32(^pid<<3|allThreads), &t); err != nil {
		return 0, fmt.Errorf("CPU clock of process %d: %w", pid, err)
	}
	return time.Duration(t.Nano()), nil
}

// children are the processes that pid started and that still run.
func children(pid int) []int {
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	var all []int
	for _, f := range files {
		b, _ := os.ReadFile(f) // a thread may have ended since
		for word := range strings.FieldsSeq(string(b)) {
			if child, err := strconv.Atoi(word); err == nil {
				all = append(all, child)
			}
		}
	}
	return all
}

// programOf is the file that a process runs, empty when that is not told.
func programOf(pid int) string {
	path, _ := os.Readlink("/proc/" + strconv.Itoa(pid) + "/exe") // it may have ended since
	return path
}

// machineTime is the busy time of all CPUs so far.
func machineTime() (time.Duration, error) {
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(b), "\n")
	f := strings.Fields(line)
	var busy int64
	for _, i := range []int{1, 2, 3, 6, 7} { // user nice system irq softirq
		if i < len(f) {
			n, _ := strconv.ParseInt(f[i], 10, 64)
			busy += n
		}
	}
	return time.Duration(busy) * tick, nil
}

// resident is the resident memory of a process in bytes.
func resident(pid int) (int64, error) {
	b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0, err
	}
	_, after, ok := strings.Cut(string(b), "VmRSS:")
	f := strings.Fields(after)
	if !ok || len(f) == 0 {
		return 0, fmt.Errorf("/proc/%d/status has no VmRSS", pid)
	}
	kib, err := strconv.ParseInt(f[0], 10, 64)
	return kib << 10, err
}

// openFiles is how many files a process may have open. The runtime raises its
// own limit to that, as do the programs it starts.
func openFiles() uint64 {
	var l unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NOFILE, &l) != nil {
		return 0
	}
	return l.Max
}
