// Package limit bounds how much callers may ask for.
//
//	configuration ─► Rules (one per limit) ─► meters: rate, bytes, quota, concurrency
//	request: Edge (address, before anything else) ─► Caller (who asks) ─► Target (which server and tool, and what it costs) ─► Finish
//
// A meter keeps a cell for each key: the values that the limit is per. What a refused request has taken already is given back, so
// that it counts against nothing. Rates are token buckets on the monotonic clock: a clock that jumps changes nothing. Quotas are
// counted by the day or month of the wall clock, in UTC.
//
// State outlives the plan: limits are the same ones as before where name and per are.
package limit
