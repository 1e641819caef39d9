// Package runner starts stdio servers as child processes and keeps them in hand.
//
// A [Process] is one running copy of a server: its own process group, a line in, a line out, stderr
// apart from both. Nothing here knows what a line means.
//
//	Write ──► stdin ──►┌────────┐──► stdout ──► lines, linear and bounded ──► Read
//	                   │ server │
//	                   └────────┘──► stderr ──► ring of the last lines, rate-limited log
//
// Nothing outlives the program. Stop ends the group of a process in the order the specification wants
// (close stdin, SIGTERM, SIGKILL). When the leader of a group ends, the rest of the group is killed
// before the leader is reaped. When the program itself is killed, the kernel kills each leader
// (Pdeathsig, Linux) and the guard process, which reads the groups from a pipe that ends with the
// program, kills all that is left of them. A descendant that leaves its group on purpose (setsid) is
// beyond the reach of these means.
package runner
