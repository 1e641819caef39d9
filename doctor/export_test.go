package doctor

import (
	"cmp"
	"time"
)

// Elsewhere has a check look at another machine than this one; what is left out is as it is here.
type Elsewhere struct {
	Root      string
	Now       time.Time
	Free      uint64
	Room      uint64 // of which that is free
	OpenFiles uint64
	Env       map[string]string
}

// At has o look there.
func (o *Options) At(e Elsewhere) {
	w := here()
	if e.Root != "" {
		w.root = e.Root
	}
	if !e.Now.IsZero() {
		w.now = func() time.Time { return e.Now }
	}
	if e.Free > 0 {
		room := cmp.Or(e.Room, 1<<40)
		w.space = func(string) (free, all uint64, err error) { return e.Free, room, nil }
	}
	if e.OpenFiles > 0 {
		w.openFiles = func() uint64 { return e.OpenFiles }
	}
	getenv := w.getenv
	w.getenv = func(name string) string {
		if value, ok := e.Env[name]; ok {
			return value
		}
		return getenv(name)
	}
	o.world = w
}

// Told is how a message of another part of the program is noted: what is wrong, and what to do.
func Told(message, otherwise string) Finding {
	n := &notes{}
	n.told(Fail, "", message, otherwise)
	return n.all[0]
}
