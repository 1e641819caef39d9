package runner

import (
	"errors"
	"log/slog"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Times of the guard process; variables for the tests.
var (
	guardLinger  = 10 * time.Second // how long a guard without groups is kept for the next one
	guardPause   = 50 * time.Millisecond
	guardMaxWait = 5 * time.Second
	guardWrite   = 2 * time.Second
)

// keeper keeps a guard process running while there are groups to guard: it starts it with the first
// group, starts it again when it dies, and ends it some time after the last group. A nil keeper guards
// nothing.
type keeper struct {
	argv []string
	log  *slog.Logger

	mu     sync.Mutex
	groups map[int]struct{}
	facts  []string      // lines that say what else there is to clean up
	guard  *guardProcess // nil when none runs
	timer  *time.Timer   // of the next start after a failure, or of the end of an idle guard
	pause  time.Duration // before the next start
}

// guardProcess is one running guard. Its stdout carries nothing: the end of it tells of its death.
type guardProcess struct {
	pid     int
	in, out *os.File
	idle    chan struct{} // closed when nobody watches out
	started time.Time
}

var keepers = struct {
	sync.Mutex
	m map[string]*keeper
}{m: make(map[string]*keeper)}

// guardOf returns the keeper of the guard with this argv; the program has one, tests may have several.
func guardOf(argv []string, log *slog.Logger) *keeper {
	if len(argv) == 0 {
		return nil
	}
	keepers.Lock()
	defer keepers.Unlock()
	key := strings.Join(argv, "\x00")
	k := keepers.m[key]
	if k == nil {
		k = &keeper{argv: argv, log: log, groups: make(map[int]struct{})}
		keepers.m[key] = k
	}
	return k
}

// add puts a group under guard.
func (k *keeper) add(pgid int) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	first := len(k.groups) == 0
	k.groups[pgid] = struct{}{}
	if k.guard == nil {
		if first || k.timer == nil {
			k.start()
		}
		return
	}
	if first {
		k.busy()
	}
	k.tell("+", pgid)
}

// know has the guard know what to clean up besides the groups.
func (k *keeper) know(facts func() []string) {
	if k == nil {
		return
	}
	all := facts()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, fact := range all {
		if slices.Contains(k.facts, fact) {
			continue
		}
		if k.facts = append(k.facts, fact); len(k.facts) > maxFacts {
			k.facts = slices.Delete(k.facts, 1, 2) // a directory of long ago; the first is the marker
		}
		if k.guard != nil {
			k.say(fact)
		}
	}
}

// remove ends the guard over a group, before its number may become another's.
func (k *keeper) remove(pgid int) {
	if k == nil {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.groups, pgid)
	if k.guard != nil {
		k.tell("-", pgid)
	}
	if len(k.groups) == 0 {
		k.rest()
	}
}

// tell writes one line to the guard. A guard that cannot be told is killed; watch starts another,
// which is told everything.
func (k *keeper) tell(sign string, pgid int) { k.say(sign + strconv.Itoa(pgid)) }

func (k *keeper) say(line string) {
	if k.guard.write([]byte(line+"\n")) != nil {
		_ = syscall.Kill(k.guard.pid, syscall.SIGKILL)
	}
}

func (g *guardProcess) write(b []byte) error {
	_ = g.in.SetWriteDeadline(time.Now().Add(guardWrite))
	_, err := g.in.Write(b)
	return err
}

// busy takes up a guard that rests.
func (k *keeper) busy() {
	k.stopTimer()
	_ = k.guard.out.SetReadDeadline(time.Time{})
	k.guard.idle = make(chan struct{})
	go k.watch(k.guard, k.guard.idle)
}

// rest lets go of a guard that has no groups: nobody watches it, and it is ended after a while.
func (k *keeper) rest() {
	k.stopTimer()
	if k.guard == nil {
		return
	}
	_ = k.guard.out.SetReadDeadline(past)
	<-k.guard.idle
	k.timer = time.AfterFunc(guardLinger, k.retire)
}

func (k *keeper) stopTimer() {
	if k.timer != nil {
		k.timer.Stop()
		k.timer = nil
	}
}

// retire ends a guard that nobody needed for a while.
func (k *keeper) retire() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.groups) > 0 || k.guard == nil {
		return
	}
	k.guard.bury()
	k.guard, k.timer = nil, nil
}

// bury ends and reaps the guard, which has nothing to do any more or is dead already.
func (g *guardProcess) bury() {
	_ = syscall.Kill(g.pid, syscall.SIGKILL)
	reap(g.pid)
	closeAll(g.in, g.out)
}

// watch waits for the death of a guard, or for the time when it has no groups.
func (k *keeper) watch(g *guardProcess, idle chan struct{}) {
	var b [1]byte
	var err error
	for err == nil {
		_, err = g.out.Read(b[:])
	}
	close(idle)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.guard != g || g.idle != idle {
		return
	}
	g.bury()
	k.guard = nil
	k.log.Warn("guard process died", "pid", g.pid)
	if time.Since(g.started) > guardMaxWait {
		k.pause = 0
	}
	k.again()
}

// again starts a guard after a pause that grows with each failure, if there is anything to guard.
func (k *keeper) again() {
	k.stopTimer()
	if len(k.groups) == 0 {
		return
	}
	k.timer = time.AfterFunc(k.pause, func() {
		k.mu.Lock()
		defer k.mu.Unlock()
		if k.guard == nil && len(k.groups) > 0 {
			k.start()
		}
	})
	k.pause = min(max(2*k.pause, guardPause), guardMaxWait)
}

// start starts a guard and tells it all groups.
func (k *keeper) start() {
	k.stopTimer()
	g, err := startGuard(k.argv)
	if err == nil {
		all := []byte(strings.Join(k.facts, "\n") + "\n")
		for pgid := range k.groups {
			all = append(append(append(all, '+'), strconv.Itoa(pgid)...), '\n')
		}
		if err = g.write(all); err != nil {
			g.bury()
		}
	}
	if err != nil {
		k.log.Warn("guard process cannot start: descendants of servers may survive if this program is killed", "error", err)
		k.again()
		return
	}
	k.guard = g
	g.idle = make(chan struct{})
	go k.watch(g, g.idle)
}

// startGuard starts a guard in a session of its own: no terminal reaches it. It is not meant to die
// with the program, so there is no parent-death signal.
func startGuard(argv []string) (*guardProcess, error) {
	path, err := Command{Server: "guard", Path: argv[0]}.resolve()
	if err != nil {
		return nil, err
	}
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	if err != nil {
		return nil, err
	}
	childIn, in, err := os.Pipe()
	if err != nil {
		closeAll(null)
		return nil, err
	}
	out, childOut, err := os.Pipe()
	if err != nil {
		closeAll(null, childIn, in)
		return nil, err
	}
	closeOnExec()
	pid, err := syscall.ForkExec(path, argv, &syscall.ProcAttr{
		Env:   append(Environ(os.LookupEnv, nil), "GOMAXPROCS=1"),
		Files: []uintptr{childIn.Fd(), childOut.Fd(), null.Fd()},
		Sys:   &syscall.SysProcAttr{Setsid: true},
	})
	closeAll(null, childIn, childOut)
	if err != nil {
		closeAll(in, out)
		return nil, err
	}
	ownChild(pid)
	return &guardProcess{pid: pid, in: in, out: out, started: time.Now()}, nil
}
