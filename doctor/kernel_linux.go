package doctor

import "golang.org/x/sys/unix"

// unsynchronised tells whether the kernel says that nobody keeps its clock right.
func unsynchronised() bool {
	const timeError = 5 // TIME_ERROR
	state, err := unix.Adjtimex(&unix.Timex{})
	return err == nil && state == timeError
}

// virtual tells whether a path lies among files that the kernel makes up, where nobody can keep any.
func virtual(path string) bool {
	var st unix.Statfs_t
	if unix.Statfs(path, &st) != nil {
		return false
	}
	switch st.Type {
	case unix.PROC_SUPER_MAGIC, unix.SYSFS_MAGIC, unix.CGROUP_SUPER_MAGIC, unix.CGROUP2_SUPER_MAGIC, unix.DEVPTS_SUPER_MAGIC:
		return true
	}
	return false
}
