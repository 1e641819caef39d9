package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// settings are the flags.
type settings struct {
	rounds    int
	seconds   float64
	conns     int
	only      string
	quick     bool
	gateway   string
	peers     string
	wait      time.Duration // for memory to be given back
	shots     int           // repetitions of what is measured once a start
	held      int           // legacy sessions held open, and calls parked
	streams   int           // listen streams held open
	sustain   time.Duration // of the calls that audit must keep up with
	instances int           // sessions that have a process of their own
	log       io.Writer
}

func (s *settings) window() time.Duration { return time.Duration(s.seconds * float64(time.Second)) }

// line is one target of a table with its samples, one for each round or slice of it.
type line struct {
	Label   string    `json:"label"`
	Samples []*sample `json:"samples"`
	Ratios  []float64 `json:"ratios"` // CPU a call to that of bare, sample by sample
}

// table is a measured row.
type table struct {
	Name  string  `json:"name"`
	Title string  `json:"title"`
	Conns int     `json:"conns"`
	Lines []*line `json:"lines"`
}

// report is all a run found out.
type report struct {
	Machine string   `json:"machine"`
	Notes   []string `json:"notes"`
	Tables  []*table `json:"tables"`
	Figures []figure `json:"figures"`
	Limits  []bound  `json:"limits"`
	Errors  []string `json:"errors"`
}

// figure is a value that is measured once, or a few times.
type figure struct {
	Name   string    `json:"name"`
	Title  string    `json:"title"`
	Unit   string    `json:"unit"`
	Values []float64 `json:"values"`
}

// measure runs everything that is chosen.
func measure(ctx context.Context, w *world, s *settings) (*report, error) {
	rep := &report{Machine: machine()}
	defer func() { rep.Notes = w.notes }()
	var picked []row
	for _, r := range allRows() {
		if chosen(s.only, r.name) {
			if r.conns == 0 || s.quick && r.conns > s.conns {
				r.conns = s.conns
			}
			picked = append(picked, r)
			rep.Tables = append(rep.Tables, &table{Name: r.name, Title: r.title, Conns: r.conns})
		}
	}
	for round := range s.rounds {
		for i, r := range picked {
			fmt.Fprintf(s.log, "round %d of %d: %s\n", round+1, s.rounds, r.title)
			n, window := r.slices(s.window())
			for k := range n {
				if err := w.round(ctx, window, r, rep.Tables[i], round*n+k); err != nil {
					return rep, err
				}
			}
			if r.compares() {
				w.renew(&r)
			}
		}
	}
	return rep, w.shoot(ctx, s, rep)
}

// slice is how long each target of a row that compares two gateways is measured
// at a time. The speed of a virtual machine changes within a second: what is to
// be told apart to a few hundredths must be measured side by side, often.
const slice = 50 * time.Millisecond

// slices divides a window: into how many, and how long each is.
func (r *row) slices(window time.Duration) (n int, each time.Duration) {
	if !r.compares() || window < 2*slice {
		return 1, window
	}
	return int(window / slice), slice
}

// compares tells whether two gateways are told apart.
func (r *row) compares() bool {
	return slices.ContainsFunc(r.aims, func(a aim) bool { return a.label == onLabel("gateway") || a.label == labelMany })
}

// renew has the gateways of a row that compares begin anew in its next round. Two processes of one program can differ by some hundredths for as
// long as they live, by where their memory lies: only among several such pairs does a median tell what the program does.
func (w *world) renew(r *row) {
	for _, a := range r.aims {
		if t := w.others[a.target]; t != nil && strings.HasPrefix(a.label, "gateway") {
			t.proc.stop()
			delete(w.others, a.target)
		}
	}
}

// firsts are the aims that a round may begin with: it does not part two that are compared.
func (r *row) firsts() (all []int) {
	for i, a := range r.aims {
		if i == 0 || a.label != labelMany && a.label != onLabel(r.aims[i-1].label) {
			all = append(all, i)
		}
	}
	return all
}

// round measures all targets of a row once, beginning with another each time, there and back.
func (w *world) round(ctx context.Context, window time.Duration, r row, t *table, round int) error {
	now, first := map[string]*sample{}, r.firsts()
	for i := range r.aims {
		if round%2 > 0 {
			i = len(r.aims) - 1 - i
		}
		a := r.aims[(i+first[round/2%len(first)])%len(r.aims)]
		on, err := w.get(a.target)
		if err != nil {
			return err
		}
		if on == nil {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if now[a.label], err = w.sample(window, r, a, on); err != nil {
			return err
		}
	}
	for _, a := range r.aims {
		if have := now[a.label]; have != nil {
			t.add(a.label, have, now["bare"])
		}
	}
	return nil
}

func (w *world) sample(window time.Duration, r row, a aim, on *target) (*sample, error) {
	j := job{
		endpoint: a.endpoint(w, on, r), Conns: r.conns, Warm: window / 5, For: window,
		Own: []int{w.upstream.proc.pid()}, Upstream: w.upstream.addr,
	}
	if a.target == "direct" {
		return w.load.measure(j)
	}
	j.Target = on.proc.pid()
	before, known := cpuTime(j.Target)
	s, err := w.load.measure(j)
	if err == nil && known == nil && on.rested > 0 {
		s.Rest = before - on.rested
	}
	if on.rested, known = cpuTime(j.Target); known != nil {
		on.rested = 0
	}
	return s, err
}

func (t *table) add(label string, s, bare *sample) {
	i := slices.IndexFunc(t.Lines, func(l *line) bool { return l.Label == label })
	if i < 0 {
		i = len(t.Lines)
		t.Lines = append(t.Lines, &line{Label: label})
	}
	l := t.Lines[i]
	l.Samples = append(l.Samples, s)
	if bare != nil && s.perCall() > 0 && bare.perCall() > 0 {
		l.Ratios = append(l.Ratios, s.perCall()/bare.perCall())
	}
}

// perCall is the CPU of the target for one call in µs, 0 when unknown.
func (s *sample) perCall() float64 {
	if s.CPU < 0 || s.Calls == 0 {
		return 0
	}
	return float64(s.CPU.Microseconds()) / float64(s.Calls)
}

func (s *sample) rate() float64 { return float64(s.Calls) / max(s.Took.Seconds(), 1e-9) }

// median, least and most of what f makes of the samples.
func (l *line) of(f func(*sample) float64) spread {
	all := make([]float64, len(l.Samples))
	for i, s := range l.Samples {
		all[i] = f(s)
	}
	return spreadOf(all)
}

// spread is the median of some values, and their least and most.
type spread struct {
	mid, least, most float64
	n                int
}

func spreadOf(v []float64) spread {
	if len(v) == 0 {
		return spread{}
	}
	v = slices.Sorted(slices.Values(v))
	mid := v[len(v)/2]
	if len(v)%2 == 0 {
		mid = (mid + v[len(v)/2-1]) / 2
	}
	return spread{mid, v[0], v[len(v)-1], len(v)}
}
