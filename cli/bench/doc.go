// Package bench puts load on an MCP server and tells how long its callers waited.
//
//	Options ──► prepare: era, tools, requests ──► open or closed loop ──► recorder ──► Report ──► text, JSON, HTML
//
// In the open loop requests are due at fixed times, whatever became of those
// before them, and latency counts from then: a server that stalls for a second
// makes all wait that came meanwhile, and the percentiles show it (a generator
// that waits with them would record one slow request). In the closed loop so
// many callers each send a request when the last one is answered.
//
// What the load generator itself adds is measured too, and a load that was not
// put on as it was asked for never meets an objective.
package bench
