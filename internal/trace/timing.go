package trace

import "time"

// HeaderTiming asks for the timing of a request, with the value 1, and holds it in the answer, as JSON: in a header, or in a trailer
// where the answer had begun before.
const HeaderTiming = "Toolcrib-Timing"

// Timing is where the time of one request went, as the gateway that served it measured it. Times are in seconds, those named at
// from the moment when the head of the request had come.
type Timing struct {
	Trace string `json:"trace,omitempty"`
	// Server is the server that was asked, Cache what came of looking for a kept answer.
	Server string `json:"server,omitempty"`
	Cache  string `json:"cache,omitempty"`
	// Took is the time until the answer was there, Queue and Start those of waiting for an instance and of starting one, AtServer
	// that of the server with all attempts.
	Took     float64 `json:"took"`
	Queue    float64 `json:"queue"`
	Start    float64 `json:"start"`
	AtServer float64 `json:"atServer"`
	// Stages are the gateway's own, one after the other; the last but one or two have what was sent to the server in them.
	Stages   []Stage `json:"stages"`
	Attempts []Try   `json:"attempts"`
	// More is how many attempts are not told.
	More int `json:"more,omitempty"`
}

// Stage is one step of the gateway.
type Stage struct {
	Name string  `json:"name"`
	At   float64 `json:"at"`
	Took float64 `json:"took"`
}

// Try is one request to a server, or to another replica.
type Try struct {
	At   float64 `json:"at"`
	Took float64 `json:"took"`
	// Connect is the part that opening a connection took, Answer that until the answer began; 0 where it is not known.
	Connect float64 `json:"connect,omitempty"`
	Answer  float64 `json:"answer,omitempty"`
	// Host is where it went; empty for a process. Replica is the one that it was handed to.
	Host    string `json:"host,omitempty"`
	Port    int    `json:"port,omitempty"`
	Replica string `json:"replica,omitempty"`
	Version string `json:"version,omitempty"`
	// Method is what was sent to Server, where that is not the request itself. Awaits: another request had it sent, and this one
	// waited for it.
	Method string `json:"method,omitempty"`
	Server string `json:"server,omitempty"`
	Awaits bool   `json:"awaits,omitempty"`
	// Failed says why it failed; empty where it did not.
	Failed string `json:"failed,omitempty"`
}

// Timing tells what was noted between began and end.
func (r *Record) Timing(began, end time.Time) *Timing {
	t := &Timing{Trace: r.Trace.String(), Took: end.Sub(began).Seconds(), Stages: []Stage{}, Attempts: []Try{}}
	marks := r.Marks()
	for i, m := range marks {
		until := end
		if i+1 < len(marks) {
			until = marks[i+1].At
		}
		t.Stages = append(t.Stages, Stage{m.Stage, m.At.Sub(began).Seconds(), until.Sub(m.At).Seconds()})
	}
	noted, more := r.Attempts()
	t.More = more
	for i := range noted {
		a := &noted[i]
		if a.End.IsZero() { // another one was sooner, and it is under way still
			t.More++
			continue
		}
		host, port := a.Address()
		try := Try{
			At: a.Start.Sub(began).Seconds(), Took: a.End.Sub(a.Start).Seconds(), Connect: a.Connect.Seconds(),
			Host: host, Port: port, Replica: a.Replica, Version: a.Version, Method: a.Method, Server: a.Server, Awaits: a.Awaits,
			Failed: a.Failed,
		}
		if !a.First.IsZero() {
			try.Answer = a.First.Sub(a.Start).Seconds()
		}
		t.Attempts = append(t.Attempts, try)
	}
	return t
}
