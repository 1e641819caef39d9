// Package upstream carries modern exchanges to MCP servers of every dialect: Streamable HTTP and stdio, of both eras, and the
// HTTP+SSE of 2024-11-05.
//
// A [Server] is one configured server. Its link knows how it is reached, its dialect what it speaks:
//
//	Do ─► link ─► httpLink ─► modern: per-request _meta and mirrored headers
//	          │            └► legacy: a session per principal, opened lazily, renewed once on 404
//	          ├─► sseLink ─► a stream per principal (2024-11-05), opened lazily ┐
//	          └─► stdioLink ─► a roster of children ────────────────────────────┴► instance: calls told apart by ids of our own
//
// The children of a server are a roster: a call takes room in one of them, or waits its turn. They are started as calls need them,
// stopped when nobody does, started again when they crash, with growing pauses and not for ever, and asked now and then whether
// they live.
//
// What a server tells unasked is heard by one watch, as long as somebody wants it and a little longer: subscriptions/listen at a
// modern server; the GET stream of the gateway's own session, or the instance itself, and resources/subscribe at a legacy one.
//
// Requests are spliced, never re-encoded: the id and the progress token become the gateway's own (several clients share one
// channel, and two may use the same id), the reserved _meta keys are added for a modern server and taken off for a legacy one.
// Answers come back with the client's id put in again and, for modern clients of legacy servers, the members that
// 2026-07-28 demands. The era is found by a probe and remembered; a failure forgets it.
//
// What a legacy server asks in the middle of a call becomes an input_required answer, and the call is parked: it waits at the
// server, without a goroutine, until it is resumed with the answers or abandoned. A question is given only to the call that it
// certainly belongs to, and only when that call's client declared that it can be asked; else it is declined.
package upstream
