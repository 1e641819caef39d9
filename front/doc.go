// Package front speaks with clients: it takes requests of every dialect off HTTP, makes exchanges of them, and writes the
// answers in the form that the client's era has.
//
//	POST ─► guard (Host, Origin) ─► Admit ─► body, scan ─► modern: headers equal body, _meta
//	                                                   └─► legacy: sealed session id, initialize, ping, batches
//	     ─► Serve ─► sink: one JSON answer, or an event stream once there is something to say before it
//
// Streams for change notices (subscriptions/listen, GET of a session) outlive their exchange: once it is finished they hold the
// connection and a [gateway.Watch], and nothing else.
//
// A client of 2024-11-05 holds a stream open (GET /sse) and posts to /message: its session is in the stream, and what it posts
// goes to the replica that has it.
//
// Any other legacy session is a sealed token. What it cannot hold, because it changes (the log level, subscribed URIs, that it
// was ended), are facts that replicas share, with a bounded copy at each. What a server asks a legacy client in the middle of a
// call is a request on the stream of that call; its id is a sealed token too, so that any replica can take the answer.
package front
