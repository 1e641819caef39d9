package gateway

import (
	"testing"

	"github.com/toolcrib/toolcrib/upstream"
)

// TestGrantedOnly: what changed before it was known whether it can be watched is told only if it is granted.
func TestGrantedOnly(t *testing.T) {
	t.Parallel()
	w := &Watch{lists: upstream.ListTools | upstream.ListPrompts, ready: make(chan struct{}, 1)}
	w.tellLists(upstream.AllLists, false)
	w.limit(upstream.ListTools)
	if got, want := string(w.Append(nil, nil)), string(listNotices[0].plain); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
