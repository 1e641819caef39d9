package runner

import (
	"errors"
	"fmt"
	"os"

	"github.com/landlock-lsm/go-landlock/landlock"
	ll "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

const (
	landlockLeast = 3 // the first version that guards against truncation: Linux 6.2
	landlockScope = 6 // signals and abstract sockets end at the sandbox
)

// canSandbox tells why this kernel cannot confine, nil when it can.
func canSandbox() error {
	abi, err := ll.LandlockGetABIVersion()
	if err != nil {
		return fmt.Errorf("sandbox: the kernel has no Landlock, or it is not on (%w): "+
			"use Linux 6.2 or later with landlock in its lsm= list, or remove sandbox", err)
	}
	if abi < landlockLeast {
		return fmt.Errorf("sandbox: the kernel's Landlock is of version %d, and %d is needed: use Linux 6.2 or later, or remove sandbox", abi, landlockLeast)
	}
	if auditArch == 0 {
		return errors.New("sandbox: there is no system call filter for this processor: remove sandbox, or use amd64 or arm64")
	}
	return nil
}

// enter gives up all files but those named, and the network but for a loopback of its own.
func (s *sandboxed) enter() error {
	if err := canSandbox(); err != nil {
		return err
	}
	if s.Network == NetworkLoopback {
		if err := s.ownLoopback(); err != nil {
			return fmt.Errorf("sandbox.network: loopback takes a network namespace, which is refused here (%w): "+
				"run as root or allow user namespaces, or choose none or any", err)
		}
	}
	rules, err := s.rules()
	if err != nil {
		return err
	}
	config := landlock.V8
	if s.Network != NetworkAny {
		config = landlock.V9 // also no sockets in the file system
	}
	if err := config.BestEffort().RestrictPaths(rules...); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	if err := landlock.V6.BestEffort().RestrictScoped(); err != nil {
		return fmt.Errorf("sandbox: %w", err)
	}
	return nil
}

// ownNamespaces reports whether the launcher has to be started in a user namespace, for want of the
// right to make a network namespace by itself.
func (s *sandboxed) ownNamespaces() bool {
	if s == nil || s.Network != NetworkLoopback {
		return false
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	return unix.Capget(&header, &have[0]) != nil || have[0].Effective&(1<<unix.CAP_SYS_ADMIN) == 0
}

// ownLoopback moves this thread into a network namespace of its own, unless it is in one, and brings its loopback up.
func (s *sandboxed) ownLoopback() error {
	if !s.Own {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }()
	lo, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	lo.SetUint16(unix.IFF_UP | unix.IFF_RUNNING)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, lo)
}

// rules are the paths of the sandbox as the kernel wants them.
func (s *sandboxed) rules() ([]landlock.Rule, error) {
	rules := []landlock.Rule{landlock.RWFiles("/dev/null", "/dev/zero", "/dev/full").IgnoreIfMissing()}
	for _, path := range s.System {
		if info, err := os.Stat(path); err == nil {
			rules = append(rules, rule(info.IsDir(), path, landlock.RODirs, landlock.ROFiles).IgnoreIfMissing())
		}
	}
	for _, path := range s.Read {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("sandbox.read: %w", err)
		}
		rules = append(rules, rule(info.IsDir(), path, landlock.RODirs, landlock.ROFiles))
	}
	for _, path := range s.Write {
		info, err := os.Stat(path)
		if err != nil {
			return nil, fmt.Errorf("sandbox.write: %w", err)
		}
		r := rule(info.IsDir(), path, landlock.RWDirs, landlock.RWFiles)
		if info.IsDir() {
			r = r.WithRefer()
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func rule(dir bool, path string, dirs, files func(...string) landlock.FSRule) landlock.FSRule {
	if dir {
		return dirs(path)
	}
	return files(path)
}

// lock gives up the rights of root over all but files, and the system calls that lead out of the sandbox.
func (s *sandboxed) lock(root bool) error {
	if err := dropCapabilities(root); err != nil {
		return fmt.Errorf("sandbox: capabilities: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("sandbox: no_new_privs: %w", err)
	}
	if err := installFilter(filterFor(s.Network)); err != nil {
		return fmt.Errorf("sandbox: the kernel takes no system call filter (%w): use a kernel with seccomp, or remove sandbox", err)
	}
	return nil
}

// dropCapabilities leaves root the right to read and write the files of others, which the sandbox
// bounds, and every other user nothing.
func dropCapabilities(root bool) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var have [2]unix.CapUserData
	if err := unix.Capget(&header, &have[0]); err != nil {
		return err
	}
	var keep uint32
	if root && os.Geteuid() == 0 {
		keep = have[0].Permitted & (1 << unix.CAP_DAC_OVERRIDE)
	}
	for c := uintptr(0); c <= unix.CAP_LAST_CAP && have[0].Effective&(1<<unix.CAP_SETPCAP) != 0; c++ {
		if keep&(1<<c) == 0 || c > 31 {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err != nil && !errors.Is(err, unix.EINVAL) {
				return err
			}
		}
	}
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	want := [2]unix.CapUserData{{Effective: keep, Permitted: keep}, {}}
	return unix.Capset(&header, &want[0])
}
