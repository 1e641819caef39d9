// Package ops_test holds what operators are given to what it promises: each runbook is walked, with a real gateway, a fault
// that is real for it, and a real Prometheus with the rules that are shipped.
package ops_test

import (
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }
