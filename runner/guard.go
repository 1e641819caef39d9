package runner

import (
	"bufio"
	"io"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	maxGroups = 1 << 16         // groups a guard remembers
	guardKill = 2 * time.Second // how long a guard sees to it that the groups are gone
)

// Guard is the body of the guard process. It reads lines "+pgid" and "-pgid" from in, whose other end
// only the program holds, and when in ends, because the program has ended in whatever way, it kills
// the process groups that were added and not removed. SIGINT, SIGTERM and SIGHUP, which reach the
// whole service at once, it ignores: its turn comes after the program's.
func Guard(in io.Reader) {
	signal.Ignore(syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	groups := make(map[int]struct{})
	lines := bufio.NewScanner(in)
	for lines.Scan() {
		note(groups, lines.Text())
	}
	killGroups(groups)
}

// note carries out one line; what is no pgid above 1 is ignored, for a kill of -1 or 0 would hit others.
func note(groups map[int]struct{}, line string) {
	id, add := strings.CutPrefix(line, "+")
	if !add {
		var remove bool
		if id, remove = strings.CutPrefix(line, "-"); !remove {
			return
		}
	}
	pgid, err := strconv.Atoi(id)
	if err != nil || pgid <= 1 {
		return
	}
	if !add {
		delete(groups, pgid)
	} else if len(groups) < maxGroups {
		groups[pgid] = struct{}{}
	}
}

// killGroups kills until no member is left: a member may have been about to fork, and leaders stay
// in sight until they are reaped.
func killGroups(groups map[int]struct{}) {
	for end := time.Now().Add(guardKill); len(groups) > 0 && time.Now().Before(end); {
		for pgid := range groups {
			if err := syscall.Kill(-pgid, syscall.SIGKILL); err != nil {
				delete(groups, pgid)
			}
		}
		if len(groups) > 0 {
			time.Sleep(5 * time.Millisecond)
		}
	}
}
