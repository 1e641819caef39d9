package example

import (
	"context"
	"net/url"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	aboutURI         = "example://about"
	greetingPrefix   = "example://greeting/"
	greetingTemplate = greetingPrefix + "{name}"
	plainText        = "text/plain"
)

const aboutText = "This is Toolcrib's example server. It answers over stdio and over HTTP, in both MCP eras.\n"

func addResources(s *mcp.Server) {
	s.AddResource(&mcp.Resource{
		URI: aboutURI, Name: "about", Description: "What this server is.", MIMEType: plainText,
	}, func(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return contents(req.Params.URI, aboutText), nil
	})
	s.AddResourceTemplate(&mcp.ResourceTemplate{
		URITemplate: greetingTemplate, Name: "greeting", Description: "A greeting for a name.", MIMEType: plainText,
	}, readGreeting)
}

func readGreeting(_ context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	uri := req.Params.URI
	name, err := url.PathUnescape(strings.TrimPrefix(uri, greetingPrefix))
	if err != nil || name == "" {
		return nil, mcp.ResourceNotFoundError(uri)
	}
	return contents(uri, "Hello, "+name+"!\n"), nil
}

func contents(uri, text string) *mcp.ReadResourceResult {
	return &mcp.ReadResourceResult{
		Contents: []*mcp.ResourceContents{{URI: uri, MIMEType: plainText, Text: text}},
	}
}
