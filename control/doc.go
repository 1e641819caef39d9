// Package control is how operators look into a gateway and manage it.
//
// On the same machine its owner asks over a unix socket in the gateway's state directory, which nobody else can open:
//
//	stateDir/run/<pid>.sock ◄── Find, Client      toolcrib ps, logs
//	        │
//	      Serve ──► Subject                        the gateway
//
// From elsewhere it takes a credential, and a policy that permits what is asked:
//
//	/api/v1/… ◄── toolcrib keys, whoami, audit search, any HTTP client
//	    │
//	   API ──► Gate (who) ──► policy (may) ──► handler ──► audit
package control
