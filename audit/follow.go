package audit

import "context"

// Line is a record as a follower gets it.
type Line struct {
	// Raw is the line as it is in the log, without the newline. It is valid until Send returns.
	Raw []byte
	// Sequence is its number.
	Sequence uint64
}

// Follower is a sink that gets what is in the log. It is used by one goroutine.
type Follower interface {
	// Send hands lines on, in their order. They count as delivered once it returns nil; else they, or some of them, are sent
	// again. It keeps to ctx.
	Send(ctx context.Context, lines []Line) error
	// Close lets go of what the sink holds.
	Close() error
}
