// Package control is how the owner of a gateway looks into it on the same machine: which instances run, and what they
// print. It is HTTP over a unix socket in the gateway's state directory, which nobody but that owner can open.
//
//	stateDir/run/<pid>.sock ◄── Find, Client      toolcrib ps, logs
//	        │
//	      Serve ──► Subject                        the gateway
package control
