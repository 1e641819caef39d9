package launch

import "time"

// SetClock replaces the clock that says when a tree is looked at again.
func (l *Launcher) SetClock(now func() time.Time) { l.trees.now = now }
