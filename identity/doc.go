// Package identity says who calls: it turns the credentials of a request into a Principal, to whom sessions and every other sealed
// token are bound.
//
//	Authenticator (outlives configurations)          Verifier (one configuration, immutable)
//	  managed keys  ◄── store.KeyStore       ──────►   Identify(request) ──► *Principal, or errs.Unauthenticated
//	  keys and metadata of issuers                     Challenge(error)  ──► WWW-Authenticate (RFC 6750, RFC 9728)
//	                                                   Metadata          ──► RFC 9728, for each endpoint
//	                                                   Current(principal)──► as it is now, for what stays open
//
// One credential has one *Principal as long as nothing of it changes, so that others may keep what they know by the pointer.
//
// A token that was seen before costs a look-up: its signature was verified, what remains is its time, whether its key is still the
// issuer's, and, where the issuer is asked about tokens, how old its last answer is. What an issuer is asked is bounded in time,
// size and number, whatever callers send; while it is away, keys that are known go on, answers about tokens only as long as they
// may be kept.
package identity
