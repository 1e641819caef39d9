package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// What a confined server may reach.
const (
	NetworkNone     = "none"     // nothing, also no sockets of other programs on this machine
	NetworkLoopback = "loopback" // its own processes, through a loopback of its own
	NetworkAny      = "any"      // everything
)

// Sandbox confines the processes of an instance. What is not named here, and does not belong to the
// system, to the command itself or to the instance, is refused by the kernel.
type Sandbox struct {
	Read    []string // files and directories to read and execute
	Write   []string // files and directories to read and write
	Network string   // one of the Network constants; empty for none
}

// sandboxed is what the launcher is told of a sandbox.
type sandboxed struct {
	System  []string `json:"system"` // read, where they are there
	Read    []string `json:"read"`
	Write   []string `json:"write"`
	Network string   `json:"network"`
	Own     bool     `json:"own"` // the launcher was started in namespaces of its own
}

// prepare resolves a sandbox for a command, whose program is at path and whose own directory is own.
func (s *Sandbox) prepare(c Command, path, own string) (*sandboxed, error) {
	out := &sandboxed{System: append(slices.Clone(systemFiles), programFiles(c, path)...), Network: s.Network}
	switch s.Network {
	case "":
		out.Network = NetworkNone
	case NetworkNone, NetworkLoopback, NetworkAny:
	default:
		return nil, fmt.Errorf("sandbox.network is %q: write none, loopback or any", s.Network)
	}
	for _, list := range []struct {
		key   string
		paths []string
		into  *[]string
	}{{"read", s.Read, &out.Read}, {"write", s.Write, &out.Write}} {
		for _, p := range list.paths {
			if err := exists(p); err != nil {
				return nil, fmt.Errorf("sandbox.%s: %w", list.key, err)
			}
			*list.into = append(*list.into, p)
		}
	}
	if own != "" {
		out.Write = append(out.Write, own)
	}
	return out, nil
}

func exists(path string) error {
	if !filepath.IsAbs(path) {
		return fmt.Errorf("%q is no absolute path: begin it with a slash", path)
	}
	_, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%q does not exist: create it or take it off the list", path)
	}
	return err
}

// systemFiles are what programs need to run at all: the system's programs and libraries, and those
// files of /etc that hold no secrets.
var systemFiles = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store", "/snap",
	"/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
	"/dev/random", "/dev/urandom",

	"/etc/alternatives", "/etc/ca-certificates", "/etc/ca-certificates.conf", "/etc/crypto-policies", "/etc/debian_version",
	"/etc/fonts", "/etc/gai.conf", "/etc/group", "/etc/host.conf", "/etc/hostname", "/etc/hosts", "/etc/java", "/etc/inputrc",
	"/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/ld.so.preload", "/etc/locale.alias", "/etc/locale.conf", "/etc/localtime",
	"/etc/machine-id", "/etc/magic", "/etc/mime.types", "/etc/nodejs", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd",
	"/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf", "/etc/pki/ca-trust", "/etc/protocols", "/etc/resolv.conf", "/etc/services",
	"/etc/ssl/cert.pem", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/etc/terminfo", "/etc/timezone", "/etc/xattr.conf", "/etc/dotnet",
}

// programFiles are where a command's own files lie: the program, what it is a link to, a script among
// the arguments, and for each of them the package that it is part of.
func programFiles(c Command, path string) (files []string) {
	add := func(file string) {
		for _, f := range []string{file, resolved(file)} {
			if f != "" {
				files = append(files, f, packageOf(f))
			}
		}
	}
	add(path)
	add(interpreter(path))
	for _, arg := range c.Args {
		if !filepath.IsAbs(arg) {
			arg = filepath.Join(c.Dir, arg)
		}
		if info, err := os.Stat(arg); err == nil && filepath.IsAbs(arg) && info.Mode().IsRegular() {
			add(arg)
			break
		}
	}
	slices.Sort(files)
	return slices.DeleteFunc(slices.Compact(files), func(f string) bool { return f == "" })
}

func resolved(path string) string {
	if path == "" {
		return ""
	}
	target, err := filepath.EvalSymlinks(path)
	if err != nil {
		return ""
	}
	return target
}

// interpreter is the program in the first line of a script.
func interpreter(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }()
	head := make([]byte, 256)
	n, _ := f.Read(head)
	line, _, _ := strings.Cut(string(head[:n]), "\n")
	line, ok := strings.CutPrefix(line, "#!")
	fields := strings.Fields(line)
	if !ok || len(fields) == 0 || !filepath.IsAbs(fields[0]) {
		return ""
	}
	return fields[0]
}

// packageOf is the directory of the package that a file is part of, empty when it is a file by itself:
// what holds its node_modules, the installation whose bin, or version manager whose shims it lies in, or the nearest directory above it
// with the description of a package.
func packageOf(file string) string {
	if before, _, ok := strings.Cut(file, "/node_modules/"); ok {
		return before + "/node_modules"
	}
	dir := filepath.Dir(file)
	if above := filepath.Dir(dir); (filepath.Base(dir) == "bin" || filepath.Base(dir) == "shims") && ofOnePackage(above) {
		return above
	}
	for range 4 {
		if !ofOnePackage(dir) {
			return ""
		}
		for _, sign := range []string{"package.json", "pyproject.toml", "pyvenv.cfg", "go.mod", "deno.json"} {
			if _, err := os.Stat(filepath.Join(dir, sign)); err == nil {
				return dir
			}
		}
		dir = filepath.Dir(dir)
	}
	return ""
}

// ofOnePackage reports whether a directory may belong to one package alone, which those that systems
// and users keep everything in do not.
func ofOnePackage(dir string) bool {
	if home, err := os.UserHomeDir(); err == nil && (dir == home || within(home, dir)) || dir == os.TempDir() {
		return false
	}
	if slices.Contains(homeDirs, filepath.Dir(dir)) || slices.Contains(userDirs, filepath.Base(dir)) {
		return false
	}
	return strings.Count(dir, "/") > 1 && !slices.Contains([]string{"/usr/local", "/home", "/var/tmp", "/var/lib", "/usr/share"}, dir)
}

var (
	// homeDirs hold the home directories of all users: the server's files may lie in another's than the program's own.
	homeDirs = []string{"/home", "/Users", "/var/home", "/export/home"}
	// userDirs hold what all programs of a user keep, keys and this program's state included.
	userDirs = []string{".local", ".config", ".cache", ".var"}
)

// within reports whether path lies below dir.
func within(path, dir string) bool {
	rel, err := filepath.Rel(dir, path)
	return err == nil && rel != "." && !strings.HasPrefix(rel, "..")
}
