package runner

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// hierarchy is a tree of control groups in which the program may make groups of its own.
type hierarchy struct {
	own     string // directory of the group the program is in, or the one under which it makes groups
	unified bool   // version 2
	top     bool   // own is all that is mounted, as at the root of the tree or in a container
	root    bool   // own is the root of the tree, which may hold both processes and limited groups
}

// controllers are those that limits need.
var controllers = []string{"memory", "pids", "cpu"}

// hierarchies finds the trees the program may use: that of version 2, "", and those of version 1 by controller.
func hierarchies() map[string]hierarchy {
	groups, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return nil
	}
	mounts, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil
	}
	defer func() { _ = mounts.Close() }()
	found := map[string]hierarchy{}
	for lines := bufio.NewScanner(mounts); lines.Scan(); {
		m, ok := parseMount(lines.Text())
		if !ok {
			continue
		}
		for _, name := range m.controllers() {
			if h, ok := m.hierarchy(pathIn(string(groups), name)); ok && h.usable() {
				found[name] = h
			}
		}
	}
	return found
}

// mount is a line of /proc/self/mountinfo.
type mount struct {
	root, point, kind string
	options           []string
}

func parseMount(line string) (mount, bool) {
	before, after, ok := strings.Cut(line, " - ")
	left, right := strings.Fields(before), strings.Fields(after)
	if !ok || len(left) < 6 || len(right) < 3 {
		return mount{}, false
	}
	m := mount{root: unescapeMount(left[3]), point: unescapeMount(left[4]), kind: right[0], options: strings.Split(right[2], ",")}
	return m, m.kind == "cgroup" || m.kind == "cgroup2"
}

// unescapeMount undoes the octal escapes of mountinfo.
var unescapeMount = strings.NewReplacer(`\040`, " ", `\011`, "\t", `\012`, "\n", `\134`, `\`).Replace

// controllers are the controllers of version 1 that the mount is for, or "" for version 2.
func (m mount) controllers() (names []string) {
	if m.kind == "cgroup2" {
		return []string{""}
	}
	for _, name := range controllers {
		if slices.Contains(m.options, name) {
			names = append(names, name)
		}
	}
	return names
}

// pathIn finds the group of the program in a file like /proc/self/cgroup: "4:memory:/a" or "0::/a".
func pathIn(file, controller string) string {
	for line := range strings.Lines(file) {
		_, rest, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
		names, path, ok := strings.Cut(rest, ":")
		if ok && (names == controller || controller != "" && slices.Contains(strings.Split(names, ","), controller)) {
			return path
		}
	}
	return ""
}

// hierarchy is the tree of the mount with the program in the group path.
func (m mount) hierarchy(path string) (hierarchy, bool) {
	rel, err := filepath.Rel(m.root, path)
	if path == "" || err != nil || strings.HasPrefix(rel, "..") {
		return hierarchy{}, false
	}
	own := filepath.Join(m.point, rel)
	_, err = os.Lstat(filepath.Join(own, "cgroup.type")) // which only the root of version 2 lacks
	return hierarchy{own: own, unified: m.kind == "cgroup2", top: rel == ".", root: rel == "." && err != nil}, true
}

// usable reports whether the program may make groups here: it is at the top of what it sees, as in a
// container, or the group was delegated to it, by its owner or by the mark that systemd leaves. Other
// groups belong to whoever made them, though root could write there.
func (h hierarchy) usable() bool {
	if unix.Access(h.own, unix.W_OK) != nil || unix.Access(filepath.Join(h.own, "cgroup.procs"), unix.W_OK) != nil {
		return false
	}
	var m unix.Statfs_t
	if unix.Statfs(h.own, &m) != nil || m.Flags&unix.ST_RDONLY != 0 {
		return false
	}
	return h.top || h.delegated()
}

func (h hierarchy) delegated() bool {
	if info, err := os.Stat(h.own); err == nil && os.Geteuid() != 0 && owner(info) == os.Geteuid() {
		return true
	}
	for _, name := range []string{"trusted.delegate", "user.delegate"} {
		value := make([]byte, 8)
		if n, err := unix.Getxattr(h.own, name, value); err == nil && string(value[:n]) == "1" {
			return true
		}
	}
	return false
}
