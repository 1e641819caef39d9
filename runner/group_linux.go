package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// group is what all processes of an instance are held by, wherever they went: control groups, or
// where there are none, the marker in their environment.
type group struct {
	tree   *tree
	name   string // of its groups and directories
	id     string // value of the marker
	limits Limits
	dirs   map[string]string // control groups: "" of version 2, others by controller of version 1
	in     map[string]string // which of them bounds a resource; one that is missing is left to the watch
	since  uint64            // when the first process was started, in ticks since boot
}

// newGroup makes what holds an instance.
func (t *tree) newGroup(name, id string, l Limits) (*group, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	g := &group{tree: t, name: name, id: id, limits: l, dirs: map[string]string{}, in: map[string]string{}}
	_ = g.make("", name) // without it there are other means
	for _, controller := range controllers {
		if !l.bounds(controller) {
			continue
		}
		if err := g.bound(controller, name); err != nil && controller == "cpu" {
			g.remove()
			return nil, fmt.Errorf("resources.cpu takes a control group that this program may make groups in, "+
				"and there is none (%w): delegate one to it (systemd: Delegate=yes) or remove resources.cpu", err)
		}
	}
	return g, nil
}

func (l Limits) bounds(controller string) bool {
	return controller == "memory" && l.Memory > 0 || controller == "pids" && l.Pids > 0 || controller == "cpu" && l.CPU > 0
}

// make makes the group in one hierarchy.
func (g *group) make(key, name string) error {
	if g.dirs[key] != "" {
		return nil
	}
	base, err := g.tree.base(key)
	if err != nil {
		return err
	}
	dir := filepath.Join(base, name)
	if err := os.Mkdir(dir, 0o755); err != nil { //nolint:gosec // G301: interpreters look up what they may use
		return err
	}
	g.dirs[key] = dir
	return nil
}

// bound sets the limit of one controller, in version 2 where that has it, else in version 1.
func (g *group) bound(controller, name string) error {
	if dir := g.dirs[""]; dir != "" && g.tree.controls(controller) == nil {
		if err := g.limits.write2(controller, dir); err == nil {
			g.in[controller] = dir
			return nil
		}
	}
	if err := g.make(controller, name); err != nil {
		if why := g.tree.limits[controller]; errors.Is(err, fs.ErrNotExist) && why != nil {
			return why
		}
		return err
	}
	dir := g.dirs[controller]
	if err := g.limits.write1(controller, dir); err != nil {
		return err
	}
	g.in[controller] = dir
	return nil
}

const period = 100_000 // microseconds over which CPU time is shared out

func (l Limits) quota() int64 { return max(1000, int64(math.Round(l.CPU*period))) }

func (l Limits) write2(controller, dir string) error {
	switch controller {
	case "memory":
		_ = put(dir, "memory.swap.max", "0")
		_ = put(dir, "memory.oom.group", "1")
		return put(dir, "memory.max", strconv.FormatUint(l.Memory, 10))
	case "pids":
		return put(dir, "pids.max", strconv.Itoa(l.Pids))
	}
	return put(dir, "cpu.max", fmt.Sprintf("%d %d", l.quota(), period))
}

func (l Limits) write1(controller, dir string) error {
	switch controller {
	case "memory":
		err := put(dir, "memory.limit_in_bytes", strconv.FormatUint(l.Memory, 10))
		_ = put(dir, "memory.memsw.limit_in_bytes", strconv.FormatUint(l.Memory, 10))
		return err
	case "pids":
		return put(dir, "pids.max", strconv.Itoa(l.Pids))
	}
	return errors.Join(put(dir, "cpu.cfs_period_us", strconv.Itoa(period)), put(dir, "cpu.cfs_quota_us", strconv.FormatInt(l.quota(), 10)))
}

// began tells which process is the first.
func (g *group) began(pid int) {
	if s, err := readStat(pid); err == nil {
		g.since = s.start
	}
}

// open opens the group of version 2 for a child to be started in; nil without one.
func (g *group) open() *os.File {
	if g.dirs[""] == "" {
		return nil
	}
	f, err := os.Open(g.dirs[""])
	if err != nil {
		return nil
	}
	return f
}

// join moves a started process into the groups it was not started in.
func (g *group) join(pid int, started bool) error {
	var errs []error
	for key, dir := range g.dirs {
		if key != "" || !started {
			errs = append(errs, put(dir, "cgroup.procs", strconv.Itoa(pid)))
		}
	}
	return errors.Join(errs...)
}

// late reports whether a process enters a limited group only after it was started, and could by then
// have started others outside, if it were the command itself.
func (g *group) late() bool {
	for key := range g.dirs {
		if key != "" {
			return true
		}
	}
	return false
}

// watched are the resources that the watch has to look after.
func (g *group) watched() Limits {
	l := g.limits
	if g.in["memory"] != "" {
		l.Memory = 0
	}
	if g.in["pids"] != "" {
		l.Pids = 0
	}
	return l
}

// held is the control group that has all processes, empty where there is none.
func (g *group) held() string {
	for _, key := range append([]string{""}, controllers...) {
		if g.dirs[key] != "" {
			return g.dirs[key]
		}
	}
	return ""
}

// verdict tells which limit was reached, nil for none.
func (g *group) verdict() error {
	dir := g.in["memory"]
	if dir != "" && (count(dir, "memory.events", "oom_kill") > 0 || count(dir, "memory.oom_control", "oom_kill") > 0) {
		return g.limits.overMemory()
	}
	if dir := g.in["pids"]; dir != "" && count(dir, "pids.events", "max") > 0 {
		return g.limits.overPids()
	}
	return nil
}

// count reads one number of a file of "name number" lines.
func count(dir, file, name string) uint64 {
	data, _ := os.ReadFile(filepath.Join(dir, file))
	for line := range strings.Lines(string(data)) {
		if rest, ok := strings.CutPrefix(line, name+" "); ok {
			n, _ := strconv.ParseUint(strings.TrimSpace(rest), 10, 64)
			return n
		}
	}
	return 0
}

// end kills all that is left of the instance until nothing is, and removes the groups.
func (g *group) end() error {
	deadline := time.Now().Add(killWait)
	if g.held() == "" {
		endMarked(g.id, g.since, deadline)
	}
	errs := make([]error, 0, len(g.dirs))
	for _, dir := range g.dirs {
		errs = append(errs, clearGroup(dir, deadline))
	}
	return errors.Join(errs...)
}

// remove removes the groups of an instance that was never started.
func (g *group) remove() {
	for _, dir := range g.dirs {
		_ = removeGroup(dir)
	}
}
