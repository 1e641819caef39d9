// Package login gets credentials for gateways, and keeps them for the commands of toolcrib.
//
//	gateway ─401─► metadata of the resource (RFC 9728) ─► of its authorization server (RFC 8414)
//	   ─► client id: given, of a metadata document, or registered (RFC 7591)
//	   ─► browser ─► code at a loopback address (PKCE S256, state, iss) ─► token for this gateway (RFC 8707)
//	   ─► credentials.json, which only its owner may read
//
// All that a gateway or an authorization server says is taken for hostile: addresses are https, or http at a loopback address,
// before anything is asked of them or opened; answers are bounded; no redirect is followed; no shell is ever involved.
package login
