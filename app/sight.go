package app

import (
	"cmp"
	"context"
	"iter"
	"net/url"
	"os"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/runner"
	"github.com/toolcrib/toolcrib/telemetry"
	"github.com/toolcrib/toolcrib/upstream"
)

// sight opens the socket through which the owner looks into this gateway. It is no reason not to serve that there is none.
func (s *server) sight(ctx context.Context) (closeIt func()) {
	serving, err := control.Serve(ctx, s.first.StateDir, sight{s}, s.logger("control"))
	if err != nil {
		s.log.Warn("toolcrib ps and logs cannot reach this gateway", "error", err)
		return func() {}
	}
	return serving.Close
}

// sight is what the owner can look into.
type sight struct{ s *server }

// Report implements control.Subject.
func (v sight) Report() *control.Report {
	s := v.s
	r := &control.Report{
		PID: os.Getpid(), Version: s.o.Version, URL: s.base, File: s.o.File, Started: s.started,
		Servers: []control.Server{}, Instances: []control.Instance{}, Reached: []control.Reached{},
	}
	config, queued := s.gw.Plan().Config, s.gw.Queued()
	for name, st := range s.gw.Status() {
		if isolation := config.IsolationOf(name); isolation != "" {
			r.Servers = append(r.Servers, control.Server{
				Name: name, Isolation: isolation, State: string(st.State), Since: st.Since, Reason: st.Reason, Era: st.Era,
				Queued: queued[name],
			})
		} else if spec := config.MCPServers[name]; spec != nil {
			r.Reached = append(r.Reached, reached(name, spec, st)...)
		}
	}
	slices.SortStableFunc(r.Reached, func(a, b control.Reached) int { return cmp.Compare(a.Server, b.Server) })
	slices.SortFunc(r.Servers, func(a, b control.Server) int { return cmp.Compare(a.Name, b.Name) })
	for _, in := range s.gw.Instances() {
		r.Instances = append(r.Instances, shown(in))
	}
	return r
}

// reached are the instances of a server that is reached by url. What a caller's own url has is not known without the caller.
func reached(name string, spec *v1.Server, st upstream.Status) (all []control.Reached) {
	for i := range st.Instances {
		in := &st.Instances[i]
		all = append(all, control.Reached{
			Server: name, Address: in.Instance, State: in.State, Since: in.Since, Reason: in.Reason, Era: in.Era, Calls: in.Calls, InFlight: in.InFlight,
		})
	}
	if len(all) > 0 {
		return all
	}
	at := spec.URL
	if at == "" && len(spec.URLs) > 0 {
		at = spec.URLs[0].URL
	}
	address := "by caller"
	if u, err := url.Parse(at); err == nil && u.Host != "" && !strings.Contains(u.Host, "$") {
		address = u.Host
	}
	return []control.Reached{{Server: name, Address: address, State: string(st.State), Since: st.Since, Reason: st.Reason, Era: st.Era}}
}

func shown(in upstream.Instance) control.Instance {
	return control.Instance{
		Server: in.Server, Isolation: in.Isolation, Key: in.Key, Tenant: in.Tenant, PID: in.PID, State: string(in.State), Since: in.Since,
		Calls: in.Calls, InFlight: in.InFlight, Restarts: in.Restarts, Era: in.Era,
		RSS: in.Usage.RSS, CPU: in.Usage.CPU.Seconds(), Files: in.Usage.Files, Processes: in.Usage.Processes,
	}
}

// processes is what the metrics of processes are made from.
func (s *server) processes() telemetry.Processes {
	now := telemetry.Processes{Queued: s.gw.Queued(), Pools: map[string]telemetry.Pool{}}
	config := s.gw.Plan().Config
	for server := range now.Queued {
		p := config.PoolOf(server)
		now.Pools[server] = telemetry.Pool{Capacity: p.Max * int(p.Concurrency), Queue: p.Queue}
	}
	for _, in := range s.gw.Instances() {
		now.Instances = append(now.Instances, telemetry.Instance{
			Server: in.Server, State: string(in.State), PID: in.PID, Since: in.Since,
			RSS: in.Usage.RSS, CPU: in.Usage.CPU, Files: in.Usage.Files, Processes: in.Usage.Processes, InFlight: in.InFlight,
		})
	}
	return now
}

// Lines implements control.Subject.
func (v sight) Lines(ctx context.Context, server string, last int, follow bool) iter.Seq[control.Line] {
	journal := v.s.gw.Journal(server)
	if journal == nil {
		return nil
	}
	lines := slices.Values(journal.Last(last))
	if follow {
		lines = journal.Follow(ctx, last)
	}
	return func(yield func(control.Line) bool) {
		for l := range lines {
			if !yield(line(l)) {
				return
			}
		}
	}
}

func line(l runner.Line) control.Line {
	return control.Line{Time: l.Time, PID: l.PID, Text: l.Text, Fault: l.Fault, Lost: l.Lost}
}
