package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"
)

// job is one measurement of a load generator: a closed loop on so many
// connections, for a time or for a number of calls.
type job struct {
	endpoint
	Conns    int           `json:"conns"`
	Warm     time.Duration `json:"warm"`  // goes before the measurement
	For      time.Duration `json:"for"`   // how long, unless Calls are given
	Calls    int           `json:"calls"` // of all connections together, 0 = by time
	Target   int           `json:"target"`
	Own      []int         `json:"own"`      // other processes of this benchmark
	Upstream string        `json:"upstream"` // whose stats are read
}

// sample is what a job measured.
type sample struct {
	Calls    int           `json:"calls"`
	Errors   int           `json:"errors"`
	Error    string        `json:"error,omitempty"` // the first one
	Took     time.Duration `json:"took"`
	CPU      time.Duration `json:"cpu"`  // of the target, -1 when unknown
	Rest     time.Duration `json:"rest"` // what it took between its measurement before and this one
	P50      time.Duration `json:"p50"`
	P99      time.Duration `json:"p99"`
	Requests int64         `json:"requests"` // that reached the upstream
	Conns    int64         `json:"conns"`    // that were new to it
	Others   float64       `json:"others"`   // CPUs used by strangers meanwhile
	RSS      int64         `json:"rss"`      // of the target afterwards
}

const (
	grace     = 20 * time.Second // for a job to end after its time
	maxErrors = 20               // of one connection
)

// loadMain reads jobs from standard input and writes samples to standard output.
func loadMain([]string) error {
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	in, out := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	for {
		var j job
		if err := in.Decode(&j); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		s, err := j.run()
		if err != nil {
			s = &sample{Errors: 1, Error: err.Error()}
		}
		if err := out.Encode(s); err != nil {
			return err
		}
	}
}

// run measures once.
func (j *job) run() (*sample, error) {
	deadline := time.Now().Add(j.Warm + j.For + grace)
	watch, err := newWatch(j, deadline)
	if err != nil {
		return nil, err
	}
	defer watch.close()
	workers, err := j.dial(deadline)
	defer closeAll(workers)
	if err != nil {
		return nil, err
	}
	each(workers, func(w *worker) { w.loop(time.Now(), 1) }) // whatever is set up by a first call
	each(workers, func(w *worker) { w.loop(time.Now().Add(j.Warm), 0) })
	for _, w := range workers {
		w.lat, w.calls = hist{}, 0
	}
	if err := watch.start(); err != nil {
		return nil, err
	}
	end := time.Now().Add(j.For)
	each(workers, func(w *worker) { w.loop(end, (j.Calls+j.Conns-1)/j.Conns) })
	s, err := watch.stop()
	if err != nil {
		return nil, err
	}
	s.gather(workers)
	return s, nil
}

func (j *job) dial(deadline time.Time) ([]*worker, error) {
	workers := make([]*worker, j.Conns)
	var failed error
	for i := range workers {
		w := &worker{deadline: deadline}
		if w.client, w.err = dialClient(j.endpoint, deadline); w.err != nil {
			failed = fmt.Errorf("connect to %s%s: %w", j.Addr, j.Path, w.err)
		} else {
			w.client.req.n = i * 1_000_000
		}
		workers[i] = w
	}
	return workers, failed
}

// worker is one connection of a load.
type worker struct {
	client   *client
	deadline time.Time
	lat      hist
	calls    int
	errors   int
	err      error // the first one
}

// each runs f for all workers at once and waits for them.
func each(workers []*worker, f func(*worker)) {
	var all sync.WaitGroup
	for _, w := range workers {
		all.Go(func() { f(w) })
	}
	all.Wait()
}

// loop calls until end, or so many times when calls is not 0.
func (w *worker) loop(end time.Time, calls int) {
	t := time.Now()
	for n := 0; calls > 0 && n < calls || calls == 0 && t.Before(end); n++ {
		if w.errors >= maxErrors {
			return
		}
		if err := w.client.do(); err != nil {
			w.failed(err)
			t = time.Now()
			continue
		}
		now := time.Now()
		w.lat.add(now.Sub(t))
		w.calls++
		t = now
	}
}

// failed counts an error and goes on with a new connection.
func (w *worker) failed(err error) {
	if w.errors++; w.err == nil {
		w.err = err
	}
	w.client.drop()
	c, err := dialClient(w.client.t, w.deadline)
	if err != nil {
		w.errors = maxErrors
		return
	}
	c.req.n = w.client.req.n
	w.client = c
}

func closeAll(workers []*worker) {
	each(workers, func(w *worker) {
		if w != nil && w.client != nil {
			_ = w.client.close() // a session that cannot be deleted shows in the stats
		}
	})
}

func (s *sample) gather(workers []*worker) {
	var all hist
	for _, w := range workers {
		all.merge(&w.lat)
		s.Calls += w.calls
		s.Errors += w.errors
		if s.Error == "" && w.err != nil {
			s.Error = w.err.Error()
		}
	}
	s.P50, s.P99 = all.quantile(0.5), all.quantile(0.99)
}
