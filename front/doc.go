// Package front speaks with clients: it takes requests of every dialect off HTTP, makes exchanges of them, and writes the
// answers in the form that the client's era has.
//
//	POST ─► guard (Host, Origin) ─► Admit ─► body, scan ─► modern: headers equal body, _meta
//	                                                   └─► legacy: sealed session id, initialize, ping, batches
//	     ─► Serve ─► sink: one JSON answer, or an event stream once there is something to say before it
//
// A client of 2024-11-05 holds a stream open (GET /sse) and posts to /message: its session is in the stream, and what it posts
// goes to the replica that has it.
//
// Any other legacy session is a sealed token. What it cannot hold, because it changes, is a small bounded table: the log level, and
// that the session was ended. Losing it costs the log level and nothing else.
package front
