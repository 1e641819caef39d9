package machine_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/toolcrib/toolcrib/internal/machine"
)

// TestMemory reads the limits of both versions, on each level, also where the path is that outside of a container.
func TestMemory(t *testing.T) {
	for name, tt := range map[string]struct {
		files map[string]string
		want  int64
	}{
		"none":          {nil, 0},
		"v2":            {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "1048576\n"}, 1 << 20},
		"v2 unbounded":  {map[string]string{"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/memory.max": "max\n"}, 0},
		"v2 above":      {map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "7\n", "sys/fs/cgroup/a/b/memory.max": "max"}, 7},
		"v2 container":  {map[string]string{"proc/self/cgroup": "0::/docker/x\n", "sys/fs/cgroup/memory.max": "9\n"}, 9},
		"v1":            {map[string]string{"proc/self/cgroup": "3:cpu:/a\n2:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "5\n"}, 5},
		"v1 unbounded":  {map[string]string{"proc/self/cgroup": "2:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}, 0},
		"nonsense":      {map[string]string{"proc/self/cgroup": "x\n0::/\n", "sys/fs/cgroup/memory.max": "lots\n"}, 0},
		"of both, v1":   {map[string]string{"proc/self/cgroup": "2:memory:/\n0::/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": "3", "sys/fs/cgroup/memory.max": "4"}, 3},
		"relative path": {map[string]string{"proc/self/cgroup": "0::a\n", "sys/fs/cgroup/memory.max": "8"}, 8},
	} {
		root := planted(t, tt.files)
		if got := machine.Memory(root); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// TestQuota reads CPUs of both versions, and processes.
func TestQuota(t *testing.T) {
	for name, tt := range map[string]struct {
		files     map[string]string
		cpu, pids int64
	}{
		"none": {nil, 0, 0},
		"v2": {map[string]string{
			"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": "50000 100000\n", "sys/fs/cgroup/cpu.max": "max 100000\n", "sys/fs/cgroup/a/pids.max": "64\n",
		}, 500, 64},
		"v1": {map[string]string{
			"proc/self/cgroup": "4:pids:/\n3:cpu,cpuacct:/a\n", "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "200000",
			"sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000", "sys/fs/cgroup/pids/pids.max": "max",
		}, 2000, 0},
		"v1 unbounded": {map[string]string{"proc/self/cgroup": "3:cpu:/\n", "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1"}, 0, 0},
	} {
		root := planted(t, tt.files)
		if cpu, pids := machine.CPU(root), machine.Pids(root); cpu != tt.cpu || pids != tt.pids {
			t.Errorf("%s: %d and %d, want %d and %d", name, cpu, pids, tt.cpu, tt.pids)
		}
	}
}

func TestInstalled(t *testing.T) {
	for text, want := range map[string]int64{
		"MemTotal:       1024 kB\nMemFree: 1 kB\n": 1 << 20, "MemFree: 1 kB\n": 0, "MemTotal: x kB\n": 0, "MemTotal: -1 kB\n": 0,
	} {
		if got := machine.Installed(planted(t, map[string]string{"proc/meminfo": text})); got != want {
			t.Errorf("%q: %d, want %d", text, got, want)
		}
	}
	if got := machine.Installed(t.TempDir()); got != 0 {
		t.Errorf("no file: %d", got)
	}
}

// planted is a root with files.
func planted(t *testing.T, files map[string]string) string {
	t.Helper()
	root := t.TempDir()
	for file, text := range files {
		file = filepath.Join(root, file)
		if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return root
}
