package control

import (
	"context"
	"iter"
	"time"
)

// Subject is what can be looked into. Its methods may be called from any goroutine.
type Subject interface {
	// Report tells what runs now.
	Report() *Report
	// Lines yields what a server printed, beginning with the last lines; it goes on until ctx ends when follow is set.
	// It returns nil when there is no such server, or none that prints.
	Lines(ctx context.Context, server string, last int, follow bool) iter.Seq[Line]
}

// Report is one gateway and what it runs.
type Report struct {
	// PID is the gateway's own process; Version and URL are its own too, and File is its configuration, empty for none.
	PID     int       `json:"pid"`
	Version string    `json:"version"`
	URL     string    `json:"url"`
	File    string    `json:"file,omitempty"`
	Started time.Time `json:"started"`
	// Servers are those that the gateway runs as processes, by name.
	Servers []Server `json:"servers"`
	// Instances are their running copies, by server and age.
	Instances []Instance `json:"instances"`
	// Reached are the instances of servers that are reached by url, by server and address.
	Reached []Reached `json:"reached"`
}

// Reached is an instance of a server that somebody else runs.
type Reached struct {
	Server string `json:"server"`
	// Address is where it is, without what could be a secret in it.
	Address string    `json:"address"`
	State   string    `json:"state"`
	Since   time.Time `json:"since"`
	Reason  string    `json:"reason,omitempty"`
	Era     string    `json:"era,omitempty"`
	// Calls and InFlight are counted where instances are told apart.
	Calls    int64 `json:"calls,omitempty"`
	InFlight int64 `json:"inFlight,omitempty"`
}

// Server is a server that the gateway runs as processes.
type Server struct {
	Name      string    `json:"name"`
	Isolation string    `json:"isolation"`
	State     string    `json:"state"`
	Since     time.Time `json:"since"`
	Reason    string    `json:"reason,omitempty"`
	Era       string    `json:"era,omitempty"`
	Queued    int       `json:"queued"`
}

// Instance is one running copy of a server.
type Instance struct {
	Server    string `json:"server"`
	Isolation string `json:"isolation"`
	// Key stands for the callers that share the instance: a hash, empty where all do.
	Key string `json:"key,omitempty"`
	// Tenant is theirs; empty where those of several tenants share the instance.
	Tenant   string    `json:"tenant,omitempty"`
	PID      int       `json:"pid"`
	State    string    `json:"state"`
	Since    time.Time `json:"since"`
	Calls    int64     `json:"calls"`
	InFlight int       `json:"inFlight"`
	Restarts int       `json:"restarts"`
	Era      string    `json:"era,omitempty"`
	// What all processes of the instance use together.
	RSS       uint64  `json:"rssBytes"`
	CPU       float64 `json:"cpuSeconds"`
	Files     int     `json:"files"`
	Processes int     `json:"processes"`
}

// Line is one line that a server printed.
type Line struct {
	Time time.Time `json:"time"`
	PID  int       `json:"pid"`
	Text string    `json:"text"`
	// Fault: it stood on standard output, where only messages belong, and is none.
	Fault bool `json:"fault,omitempty"`
	// Lost is how many lines before this one are missing.
	Lost int `json:"lost,omitempty"`
}
