package memory_test

import (
	"context"
	"testing"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/clustertest"
	"github.com/toolcrib/toolcrib/cluster/memory"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	shared := memory.New()
	clustertest.Run(t, func(*testing.T) cluster.Backend { return shared })
}

func TestAlone(t *testing.T) {
	b := memory.New()
	n := clustertest.Node(t, b, clustertest.Ring(t))
	if !n.Alone() || n.Broadcast(context.Background(), "x", nil) != nil {
		t.Error("one node is not alone")
	}
	other := clustertest.Node(t, b, clustertest.Ring(t))
	if n.Alone() {
		t.Error("two nodes are alone")
	}
	other.Close()
	if s := n.Status(); !n.Alone() || !s.Connected || s.Backend != "memory" || s.Since.IsZero() {
		t.Errorf("alone again: %v, %+v", n.Alone(), s)
	}
}
