// Package example is a small MCP server, real but harmless, that lets a
// newcomer try the gateway with nothing else installed.
//
// It is written on the official Go SDK, so it speaks both protocol eras. It
// offers the tools echo, add, slow and time, a prompt with completion, a
// resource and a resource template. It reads no file and opens no connection.
package example
