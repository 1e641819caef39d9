package runner

import (
	"bufio"
	"io"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	maxGroups = 1 << 16         // groups a guard remembers
	guardKill = 5 * time.Second // how long a guard sees to it that the processes are gone
)

// Lines to a guard begin with one of these, followed by what it is about.
const (
	factMarker = "m" // first part of the ids of the program's instances
	factGroup  = "c" // control group of the program
	factFolder = "t" // directory of the program
	maxFacts   = 64
)

// estate is what a guard has to clean up after the program.
type estate struct {
	groups  map[int]struct{}
	marker  string
	trees   []string
	folders []string
}

// Guard is the body of the guard process. It reads lines "+pgid" and "-pgid" from in, whose other end
// only the program holds, and when in ends, because the program has ended in whatever way, it kills
// the process groups that were added and not removed, and all processes of instances that left them;
// then it removes the program's control groups and directories, which other lines name. SIGINT,
// SIGTERM and SIGHUP, which reach the whole service at once, it ignores: its turn comes after the program's.
func Guard(in io.Reader) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	e := &estate{groups: make(map[int]struct{})}
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		e.note(lines.Text())
	}
	e.clear()
}

// note carries out one line. What names nothing of the program's is ignored.
func (e *estate) note(line string) {
	switch kind := line[:min(1, len(line))]; kind {
	case "+", "-":
		e.noteGroup(kind == "+", line[1:])
	case factMarker:
		if len(line) > minMarker {
			e.marker = line[1:]
		}
	case factGroup, factFolder:
		list := &e.trees
		if kind == factFolder {
			list = &e.folders
		}
		path := filepath.Clean(line[1:])
		if len(*list) < maxFacts && filepath.IsAbs(path) && strings.HasPrefix(filepath.Base(path), groupPrefix) {
			*list = append(*list, path)
		}
	}
}

const minMarker = 16 // shorter ones would be found by chance

// noteGroup ignores what is no pgid above 1, for a kill of -1 or 0 would hit others.
func (e *estate) noteGroup(add bool, id string) {
	pgid, err := strconv.Atoi(id)
	if err != nil || pgid <= 1 {
		return
	}
	if !add {
		delete(e.groups, pgid)
	} else if len(e.groups) < maxGroups {
		e.groups[pgid] = struct{}{}
	}
}

// clear ends all that is left of the program's instances.
func (e *estate) clear() {
	deadline := time.Now().Add(guardKill)
	strike(e.groups) // the rest need not wait until their leaders are reaped
	for _, tree := range e.trees {
		clearTree(tree, deadline)
	}
	if e.marker != "" {
		endMarked(e.marker, 0, deadline)
	}
	killGroups(e.groups, deadline)
	for _, folder := range e.folders {
		if lock, err := lockDir(folder, syscall.LOCK_NB); err == nil && lock != nil {
			_ = removeTree(folder)
			_ = lock.Close()
		}
	}
}

// killGroups kills until no member is left: a member may have been about to fork, and leaders stay
// in sight until they are reaped.
func killGroups(groups map[int]struct{}, deadline time.Time) {
	for len(groups) > 0 && time.Now().Before(deadline) {
		if strike(groups); len(groups) > 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// strike kills all groups once and forgets those that are gone, whose numbers may become others'.
func strike(groups map[int]struct{}) {
	for pgid := range groups {
		if err := syscall.Kill(-pgid, syscall.SIGKILL); err != nil {
			delete(groups, pgid)
		}
	}
}
