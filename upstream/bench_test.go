package upstream

import (
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/mcp"
)

// bench is a roster with one instance that calls find at once.
func bench() (*roster, *Call) {
	spec := &v1.Server{Command: "x"}
	spec.SetDefaults()
	s := &Server{spec: spec}
	r := newRoster(s, nil)
	r.seats = []*seat{{r: r, in: newInstance(s, nil, nil, 0)}}
	r.settle()
	return r, &Call{In: &mcp.Raw{}, Client: &Client{}}
}

// BenchmarkRoom is what taking room for a call costs where nobody waits.
func BenchmarkRoom(b *testing.B) {
	r, c := bench()
	b.ReportAllocs()
	for b.Loop() {
		st, err := r.enter(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		st.leave()
	}
}

// BenchmarkRoomTogether is the same with as many at once as there is room for.
func BenchmarkRoomTogether(b *testing.B) {
	r, c := bench()
	b.ReportAllocs()
	b.RunParallel(func(p *testing.PB) {
		for p.Next() {
			if st, err := r.enter(b.Context(), c); err == nil {
				st.leave()
			}
		}
	})
}

// BenchmarkClock is what each of the two readings of the clock costs that the timing of a call takes.
func BenchmarkClock(b *testing.B) {
	for b.Loop() {
		clock()
	}
}

// TestRoomCostsNothing: taking room allocates nothing.
func TestRoomCostsNothing(t *testing.T) {
	r, c := bench()
	if n := testing.AllocsPerRun(100, func() {
		st, _ := r.enter(t.Context(), c)
		st.leave()
	}); n != 0 {
		t.Errorf("%.1f allocations", n)
	}
}
