package doctor

import (
	"context"
	"time"
)

// check is one row of the table.
type check struct {
	name string
	// about says what it looks at.
	about string
	// within bounds it.
	within time.Duration
	// needs tells that there is nothing to look at without a configuration.
	needs bool
	look  func(ctx context.Context, p *patient, n *notes)
}

const (
	brief  = 5 * time.Second
	remote = 15 * time.Second
	starts = 90 * time.Second // packages are fetched within it
)

// checks are what any installation is examined by.
var checks = []check{
	{"configuration", "that FILE can be served, with all that it refers to, and its warnings", brief, false, configuration},
	{"access", "who may call, and whether what they send can be read on the way", brief, true, access},
	{"policies", "roles, bindings and Cedar policies that can never match anything", brief, true, policies},
	{"launchers", "programs that servers are started with, and their versions", remote, true, launchers},
	{"state", "the state directory: who can read it, whether it can be written to, how much room is left", brief, false, state},
	{"seal", "the keys of sealed tokens", brief, true, sealing},
	{"certificates", "certificates of the gateway, of who signs others, and of servers: their end, chain, name and key", remote, true, certificates},
	{"issuers", "authorization servers: their metadata, keys and clocks", remote, true, issuers},
	{"redis", "the Redis of cluster: reachable, its version, how fast it is, whether it throws things away", remote, true, shared},
	{"store", "the database: reachable, sound, its tables as this program knows them", remote, true, database},
	{"audit", "sinks of the audit log: reachable, room left", remote, true, sinks},
	{"telemetry", "the collectors of traces and metrics: reachable", remote, true, exports},
	{"clock", "the clock of this machine", brief, false, clocks},
	{"limits", "open files, and what the control group leaves of memory, CPUs and processes", brief, false, limits},
	{"shutdown", "whether calls can finish before the process is killed", brief, true, stopping},
	{"gateways", "gateways that run with the same state directory", remote, false, running},
	{"listen", "the address to serve at: free, or taken by whom", brief, true, listening},
	{"servers", "each server: reachable, its era, how fast it answers, its tools", starts, true, servers},
}

// Check is a check, as it is told of.
type Check struct {
	Name  string `json:"name"`
	About string `json:"about"`
}

// Checks are the rows of the table; production has those of the enterprise checklist.
func Checks(production bool) []Check {
	table := checks
	if production {
		table = checklist
	}
	all := make([]Check, len(table))
	for i := range table {
		all[i] = Check{table[i].name, table[i].about}
	}
	return all
}
