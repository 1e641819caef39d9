//go:build darwin || dragonfly || freebsd || netbsd || openbsd

package runner

import (
	"errors"
	"os"
	"time"
)

// tree has nothing to make here: there are no control groups.
type tree struct{}

func newTree() *tree { return &tree{} }

func (*tree) clear() {}

func (*tree) made() []string { return nil }

// newGroup refuses limits that this system cannot hold.
func (*tree) newGroup(name, id string, l Limits) (*group, error) {
	if l.Memory > 0 || l.Pids > 0 || l.CPU > 0 {
		return nil, errors.New("resources.memory, resources.pids and resources.cpu take Linux: remove them here")
	}
	return &group{name: name, id: id}, nil
}

// group is what all processes of an instance are held by; here it is their process group alone.
type group struct{ name, id string }

func (*group) open() *os.File       { return nil }
func (*group) join(int, bool) error { return nil }
func (*group) verdict() error       { return nil }
func (*group) end() error           { return nil }
func (*group) remove()              {}
func (*group) began(int)            {}
func (*group) watched() Limits      { return Limits{} }
func (*group) late() bool           { return false }

func endMarked(string, uint64, time.Time) {}

func clearTree(string, time.Time) {}

func processesOf(int) int { return 0 }

func (*sandboxed) ownNamespaces() bool { return false }

// canSandbox tells why nothing can be confined here.
func canSandbox() error { return errors.New("sandbox takes Linux: remove it here") }

// Usage cannot be had here.
func (p *Process) Usage() (Usage, error) {
	return Usage{}, errors.New(p.name() + ": the use of resources takes Linux")
}

// watch has nothing to do here, where limits are refused.
type watch struct{}

var watched watch

func (*watch) add(*Process)    {}
func (*watch) remove(*Process) {}

func ownChild(int) {}
func disown(int)   {}

// ReapOrphans has nothing to do here: orphans fall to the system's first process.
func ReapOrphans() (stop func()) { return func() {} }
