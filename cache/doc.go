// Package cache keeps answers of servers, as the bytes that they are, for as long as they are good.
//
// A [Cache] is bounded by the bytes of all it holds. What concerns one server is a [Group] of it: its entries can be dropped by
// what they answer, its numbers can be told, and it ends with the server. Who asks makes the [Key] with a [Hash] over everything
// that the answer depends on; two different requests have no key in common.
//
//	Get ─► an answer, fresh or not: the caller decides by its times
//	 └─ none ─► Begin ─► the first one fetches: Keep, Pass, Fail or Leave
//	                 └─► all others wait for what comes of it
//
// An answer that was asked for before its server told of a change is not kept after it.
package cache
