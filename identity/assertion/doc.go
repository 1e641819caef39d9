// Package assertion tells servers for whom requests are: in a statement of the gateway's own, a JWT (RFC 7519) signed with
// Ed25519 (RFC 8037), never with the caller's token.
//
//	Notary: the keys, which replicas share ──► JWKS (RFC 7517)
//	  └─ Book: the statements towards one server
//	       └─ Statement: one for each principal; signed anew when half of its time is over
//
// A request that goes to a server on behalf of nobody, because the gateway itself asks for a list or watches, has a statement
// without sub; and without tenant too, unless it is made at an instance of a tenant.
package assertion
