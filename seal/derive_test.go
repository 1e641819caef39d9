package seal_test

import (
	"bytes"
	"testing"

	"github.com/toolcrib/toolcrib/seal"
)

// TestDerive: the same keys give the same secrets, in the same order, and another purpose others.
func TestDerive(t *testing.T) {
	a, b := bytes.Repeat([]byte("abcdefgh"), 4), bytes.Repeat([]byte("ijklmnop"), 4)
	derive := func(purpose string, keys ...[]byte) [][]byte {
		r, err := seal.NewRing(keys...)
		if err != nil {
			t.Fatal(err)
		}
		all, err := r.Derive(purpose)
		if err != nil || len(all) != len(keys) {
			t.Fatalf("%d secrets of %d keys: %v", len(all), len(keys), err)
		}
		return all
	}
	both, again, other := derive("x", a, b), derive("x", b, a), derive("y", a, b)
	if !bytes.Equal(both[0], again[1]) || !bytes.Equal(both[1], again[0]) {
		t.Error("the same key gives another secret")
	}
	for _, secret := range [][]byte{both[1], other[0], other[1], a, b} {
		if bytes.Equal(both[0], secret) {
			t.Error("two secrets are one")
		}
	}
}
