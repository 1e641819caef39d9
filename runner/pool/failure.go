package pool

import (
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	pauseFirst   = 100 * time.Millisecond
	pauseMost    = 30 * time.Second
	pauseWait    = time.Second // a call waits out a pause of this length; beyond that it is told
	failuresMost = 1000        // keys whose failures are known
)

// failures are starts that failed, by what they may be put down to: each in a row has the next one wait longer.
type failures map[string]*failure

type failure struct {
	err   error
	pause time.Duration
	until time.Time
}

// scope is what a failed start of a key may be put down to.
func (p *Pool[T]) scope(key Key) string {
	if p.o.Alike {
		return ""
	}
	return key.Name
}

// resting fails where a start failed so recently, and so often, that it is too long until the next. The caller holds the lock.
func (p *Pool[T]) resting(key Key) error {
	f := p.failures[p.scope(key)]
	if f == nil || len(p.spares) > 0 {
		return nil
	}
	left := time.Until(f.until)
	if left <= pauseWait {
		return nil
	}
	e := errs.E(p.o.Op, errs.Unavailable, "could not be started, and is tried again in %s: %w", left.Round(100*time.Millisecond), f.err)
	e.RetryAfter = left
	return e
}

// ready tells whether it is time for another start.
func (fs failures) ready(scope string) bool {
	f := fs[scope]
	return f == nil || !time.Now().Before(f.until)
}

func (fs failures) add(scope string, err error) {
	f := fs[scope]
	if f == nil {
		fs.forget()
		f = &failure{}
		fs[scope] = f
	}
	f.err = err
	f.pause = min(max(2*f.pause, pauseFirst), pauseMost)
	f.until = time.Now().Add(f.pause)
}

// forget makes room for one more: those whose time is over go, and all when there is none.
func (fs failures) forget() {
	if len(fs) < failuresMost {
		return
	}
	for scope := range fs {
		if fs.ready(scope) {
			delete(fs, scope)
		}
	}
	if len(fs) >= failuresMost {
		clear(fs)
	}
}

func (fs failures) over(scope string) { delete(fs, scope) }

// next is when the next start may be made that has to wait; zero when none has to.
func (fs failures) next() (at time.Time) {
	now := time.Now()
	for _, f := range fs {
		if f.until.After(now) && (at.IsZero() || f.until.Before(at)) {
			at = f.until
		}
	}
	return at
}
