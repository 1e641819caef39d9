//go:build !race

package runner

import (
	"testing"
	"time"
)

// A write that is alone costs no memory.
func TestWriteAllocatesNothing(t *testing.T) {
	p, r := piped(t)
	line, into := segments(`{"id":`, `7`, `}`), make([]byte, 100)
	n := testing.AllocsPerRun(200, func() {
		if err := p.Write(line, time.Minute); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Read(into); err != nil {
			t.Fatal(err)
		}
	})
	if n > 0 {
		t.Errorf("%.1f allocations", n)
	}
}
