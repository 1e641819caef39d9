// Package gateway is the corridor every request walks: one exchange, one literal list of stages, and what they need.
//
//	front ─► Admit: identify            (before the body is read)
//	      └► Serve: route ─► answer locally (lists, discovery) or forward to a server
//	      └► Finish: metrics, log        (always, refusals too)
//
// What servers tell unasked goes another way: the hub keeps one watch at each server, for all clients, and hands notices to the
// watches of clients (each a small set of what is due), after the lists they are about went stale.
//
// What the stages know of the configuration is a [plan.Plan] with the servers opened for it; a new configuration
// replaces both at once, and what only the old one needed ends when its last exchange has.
package gateway
