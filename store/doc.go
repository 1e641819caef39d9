// Package store keeps what is made at run time and outlives the gateway: the keys of toolcrib keys. What a database must do
// is [Store]; sqlite and postgres do it, and storetest shows that both do it alike.
//
//	identity ──► KeyStore ┐
//	control  ──► Store ───┴──► sqlite (one process)   stateDir/toolcrib.db
//	                       └──► postgres (a fleet)    store: postgres://…
//
// Nothing here holds a secret: of a key only the SHA-256 is kept, which is as good as the key is random.
package store
