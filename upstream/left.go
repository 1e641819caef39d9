package upstream

import "time"

// leftMost bounds the calls of one instance that were given up and may still run.
const leftMost = 1000

// left is a call that was given up. It may still run: a server need not heed a cancellation, nor answer after it.
type left struct {
	caller string
	until  time.Time // from then on it counts as over
}

// leave notes that a call was given up; how long what it asks and says could still be taken for another's depends on how long
// a call may take. Called with mu held.
func (in *instance) leave(id int64) {
	w := in.pending[id]
	if w == nil || w.opening || w.asking.modern {
		return
	}
	now := time.Now()
	if len(in.left) >= leftMost {
		for n, l := range in.left {
			if now.After(l.until) {
				delete(in.left, n)
			}
		}
	}
	if in.left == nil {
		in.left = map[int64]left{}
	}
	if len(in.left) < leftMost {
		in.left[id] = left{w.caller, now.Add(in.patience())}
	}
}

// haunted tells whether what seems to come from a call of this caller could come from a call of another that was given up.
// Called with mu held.
func (in *instance) haunted(caller string) bool {
	if len(in.left) >= leftMost {
		return true // there may be others that were not noted
	}
	now := time.Now()
	for _, l := range in.left {
		if l.caller != caller && now.Before(l.until) {
			return true
		}
	}
	return false
}
