// Package mcp is the wire of the Model Context Protocol: it reads JSON-RPC
// messages as bytes and lets them leave as the same bytes.
//
// [Scan] reads a body once and strictly and leaves spans into it, [Edits] are
// splices into those spans, so arguments and results are never decoded and
// encoded again. Around that stand the facts of the protocol: methods of both
// eras ([Method.Facts]), versions, error codes, the request headers of
// 2026-07-28 ([CheckHeaders], [Params]) and Server-Sent Events framing
// ([EventReader], [AppendEvent]).
package mcp
