package example

import (
	"context"
	"io"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Name is what the server calls itself.
const Name = "toolcrib-example"

const instructions = "A harmless server to try things with: echo repeats, add sums, " +
	"slow reports progress while it waits, time tells the time."

// listTTL is how long, in milliseconds, clients may keep a list: the lists of
// this server never change while it runs.
const listTTL = 60_000

// NewServer returns the example server. version is what it reports as its own.
func NewServer(version string) *mcp.Server {
	s := mcp.NewServer(&mcp.Implementation{Name: Name, Title: "Toolcrib example", Version: version}, &mcp.ServerOptions{
		Instructions:      instructions,
		CompletionHandler: complete,
		// The lists are fixed, so no change is announced; logging is not offered.
		Capabilities: &mcp.ServerCapabilities{
			Tools:     &mcp.ToolCapabilities{},
			Prompts:   &mcp.PromptCapabilities{},
			Resources: &mcp.ResourceCapabilities{},
		},
		SetCacheable: func(_ context.Context, _ mcp.Request, c *mcp.Cacheable) {
			c.TTLMs, c.CacheScope = listTTL, "public"
		},
	})
	addTools(s)
	addPrompts(s)
	addResources(s)
	return s
}

// ServeStdio serves one client over in and out, a message a line, until in
// ends or ctx does. Both are nil errors: that is how such a server is stopped.
func ServeStdio(ctx context.Context, in io.Reader, out io.Writer, version string) error {
	err := NewServer(version).Run(ctx, &mcp.IOTransport{Reader: readCloser(in), Writer: nopWriteCloser{out}})
	if err != nil && ctx.Err() == nil {
		return err
	}
	return nil
}

// readCloser passes Close on where the reader has one: closing is what frees
// the SDK's reading goroutine.
func readCloser(in io.Reader) io.ReadCloser {
	if c, ok := in.(io.ReadCloser); ok {
		return c
	}
	return io.NopCloser(in)
}

type nopWriteCloser struct{ io.Writer }

func (nopWriteCloser) Close() error { return nil }
