package runner

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Offsets into what the kernel lets a filter see of a system call (struct seccomp_data).
const (
	seccompNumber = 0
	seccompArch   = 4
	seccompArg0   = 16 // low halves of the arguments, on little-endian machines
	seccompArg2   = 32
)

// refusedCalls lead out of every sandbox, or into parts of the kernel that no server needs.
var refusedCalls = []uint32{
	unix.SYS_ADD_KEY, unix.SYS_KEYCTL, unix.SYS_REQUEST_KEY, unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD,
	unix.SYS_KEXEC_LOAD, unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE,
	unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_SETNS, unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT,
}

// filterFor is the system call filter of a sandbox.
func filterFor(network string) []unix.SockFilter {
	f := []unix.SockFilter{
		load(seccompArch), jump(auditArch, 1, 0), answer(refuse(unix.ENOSYS)), // calls of another architecture
		load(seccompNumber), {Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: foreignCalls, Jt: 0, Jf: 1}, answer(refuse(unix.ENOSYS)),
	}
	for _, nr := range refusedCalls {
		f = append(f, jump(nr, 0, 1), answer(refuse(unix.EPERM)))
	}
	if network != NetworkAny {
		f = append(f, jump(unix.SYS_IO_URING_SETUP, 0, 1), answer(refuse(unix.ENOSYS))) // which could make sockets too
		f = append(f, socketFilter(network)...)
	}
	return append(f, answer(unix.SECCOMP_RET_ALLOW))
}

// socketFilter refuses sockets: all of them, or those that reach beyond the network namespace. Pairs of
// connected sockets are made by another call.
func socketFilter(network string) []unix.SockFilter {
	f := []unix.SockFilter{answer(refuse(unix.EACCES))}
	if network == NetworkLoopback {
		f = []unix.SockFilter{
			load(seccompArg0),
			jump(unix.AF_INET, 4, 0), jump(unix.AF_INET6, 3, 0),
			jump(unix.AF_NETLINK, 0, 3), load(seccompArg2), jump(unix.NETLINK_ROUTE, 0, 1),
			answer(unix.SECCOMP_RET_ALLOW), answer(refuse(unix.EACCES)),
		}
	}
	return append([]unix.SockFilter{jump(unix.SYS_SOCKET, 0, uint8(len(f)))}, f...)
}

func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump skips so many instructions when what was loaded equals k, or so many when not.
func jump(k uint32, equal, other uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: k, Jt: equal, Jf: other}
}

func answer(a uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: a}
}

func refuse(e unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(e) }

// installFilter puts this thread, and all it executes, under a filter.
func installFilter(f []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(f)), Filter: &f[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0) //nolint:gosec // G103: the kernel takes an address
}
