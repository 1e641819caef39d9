package upstream

import (
	"sync/atomic"

	"github.com/toolcrib/toolcrib/mcp"
)

// Statement tells a server for whom a request is.
type Statement interface {
	// AppendHeader appends lines of the head of an HTTP request, each with its line end.
	AppendHeader(dst []byte) []byte
	// AppendMeta appends a member of params._meta with a comma behind, or nothing.
	AppendMeta(dst []byte) []byte
}

// who is for whom a call is: the gateway itself where it is for nobody.
func (s *Server) who(c *Call) Statement {
	if c.Who != nil {
		return c.Who
	}
	return s.opts.Own
}

// voice is for whom the gateway's own messages are at what has one caller: for whom its last call was.
type voice struct{ last atomic.Pointer[Statement] }

// whose is for whom; nil where the server is not told.
func (v *voice) whose() Statement {
	if who := v.last.Load(); who != nil {
		return *who
	}
	return nil
}

// use notes for whom a call is.
func (v *voice) use(who Statement) {
	if who != nil && v.whose() != who {
		kept := who
		v.last.Store(&kept)
	}
}

// whose has the head say for whom the request is.
func (f *flight) whose(who Statement) {
	if who != nil {
		f.head = who.AppendHeader(f.head)
	}
}

// identify appends the member of _meta that says for whom the request is. One of the client's own would be believed: it is taken
// off, also where the gateway says nothing.
func (d *draft) identify(add []byte, c *Call) []byte {
	if f := c.In.Meta[mcp.MetaIdentity]; f.Present() {
		d.edits.Remove(c.In.Body, f)
	}
	if c.Who != nil {
		add = c.Who.AppendMeta(add)
	}
	return add
}
