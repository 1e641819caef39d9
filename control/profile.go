package control

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"runtime"
	"runtime/pprof"
	"runtime/trace"
	"strconv"
	"time"
)

// ProfileExecution is the one profile that go tool pprof cannot read, but go tool trace.
const ProfileExecution = "execution"

const (
	profileMost = 64 << 20 // bytes
	profileLate = 30 * time.Second

	blockRate     = int(10 * time.Microsecond) // one sample for so much time blocked
	mutexFraction = 10                         // one of so many contended locks
)

// profile is one that can be taken. Those that take time look at what happens meanwhile.
type profile struct {
	name               string
	seconds, most      int // by default, and at most; 0 for one of how things are now
	start              func(io.Writer) error
	stop               func()
	writtenWhenStopped bool // rather than by name
}

// profiles are all there are. Names of functions and addresses are in them, and nothing of what callers sent. What the program was
// started with is not among them.
var profiles = []profile{
	{name: "allocs"},
	{name: "goroutine"},
	{name: "heap"},
	{name: "threadcreate"},
	{name: "cpu", seconds: 10, most: 60, start: pprof.StartCPUProfile, stop: pprof.StopCPUProfile, writtenWhenStopped: true},
	{name: ProfileExecution, seconds: 1, most: 10, start: trace.Start, stop: trace.Stop, writtenWhenStopped: true},
	{
		name: "block", seconds: 10, most: 60,
		start: func(io.Writer) error { runtime.SetBlockProfileRate(blockRate); return nil }, stop: func() { runtime.SetBlockProfileRate(0) },
	},
	{
		name: "mutex", seconds: 10, most: 60,
		start: func(io.Writer) error { runtime.SetMutexProfileFraction(mutexFraction); return nil }, stop: func() { runtime.SetMutexProfileFraction(0) },
	},
}

// Profiles are the names of what can be taken.
func Profiles() []string {
	all := make([]string, len(profiles))
	for i := range profiles {
		all[i] = profiles[i].name
	}
	return all
}

// document is an answer that is not JSON.
type document struct{ body []byte }

var errLarge = errors.New("the profile has more than 64 MiB")

// bounded takes what a profile writes, up to a bound.
type bounded struct {
	bytes.Buffer
	over bool
}

func (b *bounded) Write(p []byte) (int, error) {
	if b.Len()+len(p) > profileMost {
		b.over = true
		return len(p), nil // the rest is of no use
	}
	return b.Buffer.Write(p)
}

// profile takes one, of this replica.
func (a *API) profile(q *asked) (any, error) {
	q.target = q.PathValue("name")
	var p *profile
	for i := range profiles {
		if profiles[i].name == q.target {
			p = &profiles[i]
		}
	}
	if p == nil {
		return nil, problem(http.StatusNotFound, "there is no profile %.80q", q.target).do("take one of %v", Profiles())
	}
	seconds, err := p.during(q.URL.Query())
	if err != nil {
		return nil, err
	}
	if p.start != nil {
		select {
		case a.profiling <- struct{}{}:
			defer func() { <-a.profiling }()
		default:
			return nil, busyProfiling(time.Duration(p.most) * time.Second)
		}
	}
	var out bounded
	if err := a.take(q, p, seconds, &out); err != nil {
		return nil, err
	}
	if out.over {
		return nil, problem(http.StatusServiceUnavailable, "%v", errLarge).do("take it for fewer seconds")
	}
	return document{out.Bytes()}, nil
}

func busyProfiling(after time.Duration) *Problem {
	p := problem(http.StatusServiceUnavailable, "another profile is being taken").do("ask again when that is over")
	p.after = after
	return p
}

// during is how many seconds a profile takes.
func (p *profile) during(query url.Values) (int, error) {
	text := query.Get("seconds")
	if text == "" {
		return p.seconds, nil
	}
	n, err := strconv.Atoi(text)
	switch {
	case p.most == 0:
		return 0, wrong("seconds", text, "leave it out", "is not for %s, which is of how things are now", p.name)
	case err != nil || n < 1 || n > p.most:
		return 0, wrong("seconds", text, "", "is not a number from 1 to %d", p.most)
	}
	return n, nil
}

func (a *API) take(q *asked, p *profile, seconds int, out io.Writer) error {
	if p.start != nil {
		if err := p.start(out); err != nil {
			return busyProfiling(time.Second) // somebody else in this process
		}
		timer := time.NewTimer(time.Duration(seconds) * time.Second)
		select {
		case <-timer.C:
		case <-q.Context().Done():
		case <-a.ending:
		}
		timer.Stop()
		p.stop()
	}
	if p.writtenWhenStopped {
		return nil
	}
	return pprof.Lookup(p.name).WriteTo(out, 0)
}

// Profile takes a profile of the gateway; for 0 seconds it takes as many as it does by itself. It is to be closed.
func (r *Remote) Profile(ctx context.Context, name string, seconds int) (io.ReadCloser, error) {
	slow := *r
	client := NewClient()
	if r.HTTP != nil {
		*client = *r.HTTP
	}
	client.Timeout = time.Duration(max(seconds, 10))*time.Second + profileLate
	slow.HTTP = client
	query := url.Values{}
	if seconds > 0 {
		query.Set("seconds", strconv.Itoa(seconds))
	}
	return slow.Stream(ctx, "profiles/"+url.PathEscape(name), query)
}
