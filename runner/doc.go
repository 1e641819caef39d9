// Package runner starts stdio servers as child processes and keeps them in hand.
//
// A [Process] is one running copy of a server: its own process group, a line in, a line out, stderr
// apart from both. Nothing here knows what a line means.
//
//	Write ──► stdin ──►┌────────┐──► stdout ──► lines, linear and bounded ──► Read
//	                   │ server │
//	                   └────────┘──► stderr ──► ring of the last lines, rate-limited log
//
// Nothing outlives the program. Stop ends a process in the order the specification wants (close stdin,
// SIGTERM, SIGKILL to its group). When the leader of a group ends, all that is left of the instance is
// killed: by its control group where the system lets the program have some, else by the marker in the
// environment of every descendant and by who their parents are, so that a session of its own (setsid)
// is no way out. When the program itself is killed, the kernel kills each leader (Pdeathsig, Linux) and
// the guard process, which reads what there is from a pipe that ends with the program, kills and
// removes the rest. Without control groups, a descendant that wipes its environment and has lost its
// parents is beyond the reach of these means.
//
// Limits, the user, and the sandbox are put on by the program itself, started anew as a launcher
// ([Confine]) that then becomes the server.
package runner
