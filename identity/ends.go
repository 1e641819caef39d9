package identity

import "time"

// overdue is how long a credential that ended is still told of.
const overdue = 24 * time.Hour

// FirstEnd is when the first of the keys ends that callers have; zero when none does. Those that ended a day ago and more are
// not counted: nobody misses them.
func (a *Authenticator) FirstEnd() (first time.Time) {
	take := func(end time.Time) {
		if !end.IsZero() && a.now().Sub(end) < overdue && (first.IsZero() || end.Before(first)) {
			first = end
		}
	}
	a.mu.Lock()
	if a.last != nil {
		for _, p := range a.last.keys.named {
			take(p.Expires)
		}
	}
	a.mu.Unlock()
	if a.managed != nil {
		for _, k := range a.managed.keys.Load().ids {
			if k.Revoked.IsZero() {
				take(k.Expires)
			}
		}
	}
	return first
}
