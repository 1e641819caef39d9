// Package balance chooses which instance of a server work goes to, judges instances by how it ends, and says how much work a
// server takes at once. It knows nothing of what the work is.
//
//	Set.Pick ─► least loaded of two, or by a key ─► work ─► Set.Done ─► Good, Bad or Neither
//	                                                          │
//	joining ──► up ──► ejected (passed over, never too many) ─┤ after a time one piece of work is let through as a trial:
//	   ▲         │└──► open (nothing is let through)          ┘ it brings the instance back up, or out again
//	   └─ down ◄─┘ by probes
//
// A [Limiter] is the adaptive bound of the work that a server has at once.
package balance
