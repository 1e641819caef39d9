// Package trace is what is noted of one request on its way, for a trace of it: ids by W3C Trace Context, when which stage began, and
// what was sent to servers. It knows nothing of how traces are told to others.
package trace
