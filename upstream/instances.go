package upstream

import (
	"time"

	"github.com/toolcrib/toolcrib/runner"
)

// Instance is one running process of a server, as it is shown.
type Instance struct {
	// Server is the name of its server, Key the isolation key it belongs to: empty where all callers share it.
	Server string `json:"server"`
	Key    string `json:"key,omitempty"`
	// Tenant is the one that it belongs to; empty where those of several share it.
	Tenant string `json:"tenant,omitempty"`
	// Isolation says which callers share it.
	Isolation string    `json:"isolation"`
	PID       int       `json:"pid,omitempty"`
	State     State     `json:"state"`
	Since     time.Time `json:"since"` // it was started
	// Calls is how many requests it was sent, InFlight how many of them are under way.
	Calls    int64 `json:"calls"`
	InFlight int   `json:"inFlight"`
	// Restarts is how often an instance of the same key was started again after a crash.
	Restarts int    `json:"restarts"`
	Era      string `json:"era,omitempty"`
	// Usage is what its processes use now.
	Usage runner.Usage `json:"usage"`
}

// Timing is where the time of a call went.
type Timing struct {
	// Queue is how long it waited for an instance with room, Start for one to be started.
	Queue, Start time.Duration
	// Server is how long the server took to answer.
	Server time.Duration
	// Transport is what the gateway and the wires took: the rest. The one who measures the whole fills it in.
	Transport time.Duration
}

// Instances are the running processes of the server. Where it is reached over HTTP there are none, but for a caller's own
// connections, which count as one.
func (s *Server) Instances() []Instance {
	if l, ok := s.link.(*stdioLink); ok {
		return l.instances()
	}
	if s.opts.Key == "" {
		return nil
	}
	st := s.Status()
	return []Instance{{
		Server: s.opts.Name, Key: s.opts.Key, Isolation: s.isolation(), State: st.State, Since: st.Since, Era: st.Era,
		Calls: s.calls.Load(), InFlight: int(s.flying.Load()),
	}}
}

func (l *stdioLink) instances() []Instance {
	all, conduits := l.roll()
	for i, c := range conduits {
		if p, ok := c.(pipes); ok {
			all[i].Usage, _ = p.Usage() // which an instance that just ended has not
		}
	}
	return all
}

// roll is who is there, with the conduits of the first of them.
func (l *stdioLink) roll() (all []Instance, conduits []conduit) {
	r := l.roster
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, st := range r.seats {
		all, conduits = append(all, l.shown(st.in)), append(conduits, st.in.p)
	}
	if r.opening != nil {
		all = append(all, Instance{
			Server: l.s.opts.Name, Key: l.s.opts.Key, Isolation: l.s.isolation(), State: StateStarting, Since: r.opening.began,
			Restarts: int(l.restarts.Load()),
		})
	}
	return all, conduits
}

func (l *stdioLink) shown(in *instance) Instance {
	s := l.s
	show := Instance{
		Server: s.opts.Name, Key: s.opts.Key, Isolation: s.isolation(), State: StateReady, Since: in.since,
		Calls: in.calls.Load(), Restarts: int(l.restarts.Load()), Era: in.peer.era(),
	}
	if p, ok := in.p.(pipes); ok {
		show.PID = p.PID()
	}
	in.mu.Lock()
	show.InFlight = len(in.pending)
	in.mu.Unlock()
	return show
}

func (p *Peer) era() string {
	if p.Modern {
		return "modern"
	}
	return "legacy"
}
