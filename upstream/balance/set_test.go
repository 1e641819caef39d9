package balance_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/toolcrib/toolcrib/upstream/balance"
)

// inst is an instance.
type inst struct {
	balance.Member
	name string
}

// policy is that of most tests.
func policy() balance.Policy {
	return balance.Policy{Failures: 3, EjectFor: 10 * time.Second, Most: 50, Away: 100}
}

// set makes instances that are up.
func set(p balance.Policy, n int, change ...func(i int, m *inst)) (*balance.Set[*inst], []*inst, *[]string) {
	var mu sync.Mutex
	events := &[]string{}
	s := balance.New(p, func(m *inst, st balance.Status) {
		mu.Lock()
		defer mu.Unlock()
		*events = append(*events, m.name+" "+st.State.String())
	})
	var all []*inst
	for i := range n {
		m := &inst{name: fmt.Sprint("i", i)}
		m.Hash = balance.Hash(m.name)
		for _, f := range change {
			f(i, m)
		}
		all = append(all, m)
	}
	s.Replace(all, balance.Up)
	return s, all, events
}

// spread picks and finishes n times, and counts who was chosen.
func spread(t *testing.T, s *balance.Set[*inst], n int) map[string]int {
	t.Helper()
	got := map[string]int{}
	for range n {
		m, err := s.Pick(0, nil)
		if err != nil {
			t.Fatal(err)
		}
		got[m.name]++
		s.Done(m, balance.Good, "")
	}
	return got
}

func fail(s *balance.Set[*inst], m *inst, n int) {
	for range n {
		s.Judge(m, balance.Bad, "it broke")
	}
}

func near(got, want, slack int) bool { return got >= want-slack && got <= want+slack }

func TestEvenAndWeighted(t *testing.T) {
	s, _, _ := set(policy(), 3, func(i int, m *inst) { m.Weigh([]int{1, 1, 2}[i], 0) })
	got := spread(t, s, 8000)
	if !near(got["i0"], 2000, 250) || !near(got["i1"], 2000, 250) || !near(got["i2"], 4000, 300) {
		t.Errorf("weights 1, 1, 2 gave %v", got)
	}
}

// TestLeastLoaded: an instance that holds what it gets is given less than one that does not.
func TestLeastLoaded(t *testing.T) {
	s, all, _ := set(policy(), 2)
	for range 50 {
		if _, err := s.Pick(0, []*inst{all[1]}); err != nil {
			t.Fatal(err)
		}
	}
	if got := spread(t, s, 1000); got["i0"] > 300 {
		t.Errorf("the loaded one got %d of 1000", got["i0"])
	}
}

// TestKey: one key is always of one instance, and only those of a lost instance move.
func TestKey(t *testing.T) {
	s, all, _ := set(policy(), 4)
	at := map[uint64]*inst{}
	count := map[*inst]int{}
	for k := range uint64(400) {
		key := balance.Hash(fmt.Sprint("key", k))
		m, err := s.Pick(key, nil)
		if err != nil {
			t.Fatal(err)
		}
		at[key] = m
		count[m]++
	}
	for _, m := range all {
		if !near(count[m], 100, 40) {
			t.Errorf("%s has %d of 400 keys", m.name, count[m])
		}
	}
	fail(s, all[2], 3)
	for key, was := range at {
		if m, _ := s.Pick(key, nil); m != was && was != all[2] || m == all[2] {
			t.Fatalf("a key of %s went to %s while i2 is out", was.name, m.name)
		}
	}
}

func TestZones(t *testing.T) {
	p := policy()
	p.Zone, p.Away = "a", 0
	zones := func(i int, m *inst) { m.Zone = []string{"a", "b", "b"}[i] }
	s, all, _ := set(p, 3, zones)
	if got := spread(t, s, 100); got["i0"] != 100 {
		t.Errorf("with away 0 the own zone got %v", got)
	}
	fail(s, all[0], 3)
	if got := spread(t, s, 1000); got["i0"] != 0 || !near(got["i1"], 500, 120) {
		t.Errorf("without the own zone: %v", got)
	}
	p.Away = 10
	s, _, _ = set(p, 3, zones)
	if got := spread(t, s, 6000); !near(got["i0"], 5000, 300) {
		t.Errorf("with away 10 two of zone b got %v", got)
	}
}

func TestTiers(t *testing.T) {
	s, all, _ := set(policy(), 3, func(i int, m *inst) { m.Weigh(1, []int{10, 20, 10}[i]) })
	if got := spread(t, s, 200); got["i1"] != 0 {
		t.Errorf("the second tier got %v", got)
	}
	s.Replace(all[1:2], balance.Up)
	if got := spread(t, s, 10); got["i1"] != 10 {
		t.Errorf("alone the second tier got %v", got)
	}
	if got := all[0].State(); got != balance.Draining {
		t.Errorf("what was taken out is %s", got)
	}
}

func TestSlowStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policy()
		p.SlowStart = 10 * time.Second
		s, all, _ := set(p, 2)
		s.Replace(append(all, &inst{name: "new"}), balance.Up)
		if got := spread(t, s, 3000); got["new"] > 300 {
			t.Errorf("a new one got %d of 3000 at once", got["new"])
		}
		time.Sleep(5 * time.Second)
		if got := spread(t, s, 3000); !near(got["new"], 600, 150) {
			t.Errorf("half way it got %d of 3000", got["new"])
		}
		time.Sleep(5 * time.Second)
		if got := spread(t, s, 3000); !near(got["new"], 1000, 150) {
			t.Errorf("in the end it got %d of 3000", got["new"])
		}
	})
}

// TestEjection: an instance that fails is passed over, tried once when its time is over, and out for longer when that fails too.
func TestEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, all, events := set(policy(), 3)
		fail(s, all[0], 2)
		s.Judge(all[0], balance.Good, "")
		fail(s, all[0], 2)
		if st := all[0].State(); st != balance.Up {
			t.Fatalf("%s, but it never failed three times in a row", st)
		}
		fail(s, all[0], 1)
		for _, pause := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second} {
			if got := spread(t, s, 50); got["i0"] != 0 {
				t.Errorf("an ejected one got %v", got)
			}
			time.Sleep(pause - time.Millisecond)
			if got := spread(t, s, 50); got["i0"] != 0 {
				t.Errorf("it was tried before %s were over: %v", pause, got)
			}
			time.Sleep(time.Millisecond)
			m, _ := s.Pick(0, nil)
			if m != all[0] {
				t.Fatalf("the trial went to %s", m.name)
			}
			if got := spread(t, s, 50); got["i0"] != 0 {
				t.Errorf("beside the trial it got %v", got)
			}
			s.Done(m, balance.Bad, "it broke again")
		}
		time.Sleep(80 * time.Second)
		m, _ := s.Pick(0, nil)
		s.Done(m, balance.Good, "")
		if got := spread(t, s, 300); got["i0"] < 50 {
			t.Errorf("back again it got %v", got)
		}
		if got := fmt.Sprint(*events); got != "[i0 ejected i0 ready]" {
			t.Errorf("told: %s", got)
		}
	})
}

// TestFloor: however many fail, never more than the share is ejected, and never the last.
func TestFloor(t *testing.T) {
	for _, tt := range []struct{ n, most, want int }{{1, 100, 0}, {2, 50, 1}, {2, 100, 1}, {3, 50, 1}, {3, 100, 2}, {10, 30, 3}, {10, 1, 1}} {
		p := policy()
		p.Most = tt.most
		s, all, _ := set(p, tt.n)
		out := 0
		for _, m := range all {
			fail(s, m, 10)
			if m.State() == balance.Ejected {
				out++
			}
		}
		if out != tt.want {
			t.Errorf("of %d with most %d, %d were ejected, want %d", tt.n, tt.most, out, tt.want)
		}
	}
}

// TestBreaker: an open breaker lets nothing through, then one trial.
func TestBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, all, events := set(balance.Policy{Trip: 2, OpenFor: 5 * time.Second}, 1)
		fail(s, all[0], 2)
		_, err := s.Pick(0, nil)
		refused, ok := errors.AsType[*balance.Refused](err)
		if !ok || !refused.Broken || refused.RetryAfter != 5*time.Second || refused.Reason != "it broke" {
			t.Fatalf("open: %#v", err)
		}
		if s.Take(all[0]) == nil {
			t.Error("work of a session got through an open breaker")
		}
		for _, how := range []balance.Outcome{balance.Bad, balance.Neither, balance.Good} {
			time.Sleep(5 * time.Second)
			var trials sync.WaitGroup
			var mu sync.Mutex
			var through []*inst
			for range 50 {
				trials.Go(func() {
					if m, err := s.Pick(0, nil); err == nil {
						mu.Lock()
						defer mu.Unlock()
						through = append(through, m)
					}
				})
			}
			trials.Wait()
			if len(through) != 1 {
				t.Fatalf("half open it let %d through", len(through))
			}
			s.Done(through[0], how, "again")
		}
		if got := fmt.Sprint(all[0].State(), *events); got != "ready [i0 open i0 ready]" {
			t.Error(got)
		}
	})
}

// TestLostTrial: a trial of which nobody tells the end does not keep an instance out for ever.
func TestLostTrial(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, all, _ := set(balance.Policy{Trip: 1, OpenFor: time.Second}, 1)
		fail(s, all[0], 1)
		for range 3 {
			time.Sleep(time.Second)
			if _, err := s.Pick(0, nil); err != nil {
				t.Fatal(err)
			}
		}
	})
}

// TestProbes: probes take an instance out and bring it back, later and later while it flaps.
func TestProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := policy()
		p.Fall = 2
		s, all, events := set(p, 2)
		s.Probe(all[0], false, "no answer")
		if all[0].State() != balance.Up {
			t.Fatal("one probe was enough")
		}
		for i := range 3600 { // an hour of flapping every second
			s.Probe(all[0], i%4 < 2, "no answer")
			time.Sleep(time.Second)
		}
		if n := len(*events); n > 40 {
			t.Errorf("an instance that flaps for an hour is told of %d times", n)
		}
		time.Sleep(10 * time.Minute)
		s.Probe(all[0], true, "")
		if all[0].State() != balance.Up {
			t.Errorf("well again it is %s", all[0].State())
		}
		time.Sleep(time.Hour)
		s.Probe(all[0], false, "no answer")
		s.Probe(all[0], false, "no answer")
		s.Probe(all[0], true, "")
		if all[0].State() != balance.Up {
			t.Errorf("after an hour it has to wait again: %s", all[0].State())
		}
	})
}

// TestLastResort: what probes condemn is used where there is nothing else; a draining one never is.
func TestLastResort(t *testing.T) {
	p := policy()
	s, all, _ := set(p, 2)
	s.Probe(all[0], false, "x")
	s.Probe(all[1], false, "x")
	if got := spread(t, s, 100); len(got) != 2 {
		t.Errorf("all down: %v", got)
	}
	s.Replace(nil, balance.Up)
	if _, err := s.Pick(0, nil); err == nil {
		t.Error("an instance was picked of none")
	}
}

// TestJoining: one that has not answered yet gets nothing while others are up, and is there once it has.
func TestJoining(t *testing.T) {
	s, all, _ := set(policy(), 1)
	late := &inst{name: "late"}
	s.Replace(append(all, late), balance.Joining)
	if got := spread(t, s, 100); got["late"] != 0 {
		t.Errorf("%v", got)
	}
	s.Probe(late, false, "refused")
	s.Probe(late, true, "")
	if got := spread(t, s, 100); got["late"] == 0 {
		t.Errorf("it answered: %v", got)
	}
}

// TestWalk: whatever happens in whatever order, counts stay right, something can be picked unless breakers are open, and never
// is what was excluded.
func TestWalk(t *testing.T) {
	for seed := range uint64(50) {
		synctest.Test(t, func(t *testing.T) {
			r := rand.New(rand.NewPCG(seed, 1))
			p := balance.Policy{Failures: r.IntN(4), EjectFor: time.Second, Most: 1 + r.IntN(100), Away: r.IntN(101), Zone: "a", SlowStart: time.Second}
			s, all, _ := set(p, 1+r.IntN(6), func(i int, m *inst) {
				m.Zone = string(rune('a' + i%2))
				m.Weigh(r.IntN(5), r.IntN(2))
			})
			var out []*inst
			for range 2000 {
				switch r.IntN(6) {
				case 0, 1:
					not := all[:r.IntN(len(all))]
					m, err := s.Pick(uint64(r.IntN(3)), not)
					if err != nil {
						t.Fatalf("seed %d: %v", seed, err)
					}
					for _, n := range not {
						if m == n {
							t.Fatalf("seed %d: the excluded %s was picked", seed, m.name)
						}
					}
					out = append(out, m)
				case 2:
					if len(out) > 0 {
						s.Done(out[0], balance.Outcome(r.IntN(3)), "x")
						out = out[1:]
					}
				case 3:
					s.Judge(all[r.IntN(len(all))], balance.Bad, "x")
				case 4:
					s.Probe(all[r.IntN(len(all))], r.IntN(2) == 0, "x")
				case 5:
					time.Sleep(time.Duration(r.IntN(500)) * time.Millisecond)
				}
			}
			for _, m := range out {
				s.Done(m, balance.Good, "")
			}
			for _, m := range all {
				if m.InFlight() != 0 {
					t.Fatalf("seed %d: %s has %d under way", seed, m.name, m.InFlight())
				}
			}
		})
	}
}

func TestPickAllocates(t *testing.T) {
	for _, n := range []int{1, 8} {
		s, _, _ := set(policy(), n)
		if got := testing.AllocsPerRun(100, func() {
			m, _ := s.Pick(0, nil)
			s.Done(m, balance.Good, "")
		}); got != 0 {
			t.Errorf("of %d: %v allocations", n, got)
		}
	}
}

func BenchmarkPick(b *testing.B) {
	for _, n := range []int{1, 3, 64} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, _, _ := set(policy(), n)
			for b.Loop() {
				m, _ := s.Pick(0, nil)
				s.Done(m, balance.Good, "")
			}
		})
	}
}

// TestProbesAndBreaker: what probes find neither closes a breaker nor keeps it from opening.
func TestProbesAndBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := balance.Policy{Trip: 3, OpenFor: time.Minute, Fall: 2}
		for name, prepare := range map[string]func(*balance.Set[*inst], *inst){
			"opened, then condemned": func(s *balance.Set[*inst], m *inst) {
				fail(s, m, 3)
				s.Probe(m, false, "no answer")
				s.Probe(m, false, "no answer")
			},
			"condemned, then opened": func(s *balance.Set[*inst], m *inst) {
				s.Probe(m, false, "no answer")
				s.Probe(m, false, "no answer")
				fail(s, m, 3)
			},
		} {
			s, all, _ := set(p, 1)
			prepare(s, all[0])
			for range 3 {
				if _, err := s.Pick(0, nil); err == nil {
					t.Errorf("%s: work got through an open breaker (%s)", name, all[0].State())
				}
			}
			s.Probe(all[0], true, "")
			if _, err := s.Pick(0, nil); err == nil {
				t.Errorf("%s: a probe closed the breaker", name)
			}
			time.Sleep(time.Minute)
			m, err := s.Pick(0, nil)
			if err != nil {
				t.Fatalf("%s: no trial: %v", name, err)
			}
			s.Done(m, balance.Good, "")
			if m.State() != balance.Up {
				t.Errorf("%s: after a good trial it is %s", name, m.State())
			}
		}
	})
}
