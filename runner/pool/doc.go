// Package pool gives each key an instance of its own, and decides how many there are. It knows nothing of what an instance is.
//
//	Acquire ─► the key's instance is up ──────────────────────────► use it
//	        └► it is not ─► a spare ─► room ─► start ─► all who wait share the outcome
//	                                └► none ─► the idle one that was unused longest is closed; the call waits, within bounds
//
// An instance that is in use or says that it is busy is never closed for another key, nor for being idle. Several pools may
// have ceilings in common (a [Share]); then room for one is also made at another.
package pool
