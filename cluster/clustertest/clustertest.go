// Package clustertest is what every cluster backend must do, as one suite of tests.
package clustertest

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/seal"
)

const patience = 20 * time.Second

// Ring makes a ring with a new key.
func Ring(t testing.TB) *seal.Ring {
	t.Helper()
	key := make([]byte, seal.KeySize)
	rand.Read(key)
	r, err := seal.NewRing(key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// Fixed is a ring as options of a node take it.
func Fixed(r *seal.Ring) func() *seal.Ring { return func() *seal.Ring { return r } }

// Node makes a node that closes with the test, and waits until the backend is reached.
func Node(t testing.TB, b cluster.Backend, r *seal.Ring) *cluster.Node {
	t.Helper()
	n := cluster.New(cluster.Options{Backend: b, Ring: Fixed(r)})
	t.Cleanup(n.Close)
	Eventually(t, "connected", func() bool { return n.Status().Connected })
	return n
}

// Eventually waits for a condition.
func Eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("never happened: %s", what)
		}
	}
}

// Run runs the suite. Two backends made by open must share one store; open closes them with the test.
func Run(t *testing.T, open func(t *testing.T) cluster.Backend) {
	for _, test := range []struct {
		name string
		run  func(t *testing.T, s *suite)
	}{
		{"call", testCall},
		{"notes", testNotes},
		{"errors", testErrors},
		{"cancel", testCancel},
		{"gone", testGone},
		{"callee dies", testCalleeDies},
		{"caller dies", testCallerDies},
		{"leaves", testLeaves},
		{"large", testLarge},
		{"slow caller", testSlowCaller},
		{"slow handler", testSlowHandler},
		{"many", testMany},
		{"broadcast", testBroadcast},
		{"other keys", testOtherKeys},
		{"facts", testFacts},
		{"facts are bounded", testFactsBounded},
		{"leases", testLeases},
		{"hold", testHold},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			s := &suite{t: t, open: open, ring: Ring(t)}
			s.a, s.b = s.node(), s.node()
			test.run(t, s)
		})
	}
}

type suite struct {
	t    *testing.T
	open func(t *testing.T) cluster.Backend
	ring *seal.Ring
	a, b *cluster.Node
}

func (s *suite) node() *cluster.Node {
	s.t.Helper()
	return Node(s.t, s.open(s.t), s.ring)
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return ctx
}

func echo(_ context.Context, request []byte, _ func([]byte)) ([]byte, error) {
	return bytes.Clone(request), nil
}
