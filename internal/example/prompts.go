package example

import (
	"context"
	"fmt"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const greetPrompt = "greet"

// styles are the values of the prompt's argument style, offered by completion.
var styles = []string{"formal", "friendly", "pirate"}

func addPrompts(s *mcp.Server) {
	s.AddPrompt(&mcp.Prompt{
		Name:        greetPrompt,
		Description: "Asks the model to greet somebody.",
		Arguments: []*mcp.PromptArgument{
			{Name: "name", Description: "who to greet", Required: true},
			{Name: "style", Description: "formal, friendly or pirate; friendly when left out"},
		},
	}, greet)
}

func greet(_ context.Context, req *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
	name := req.Params.Arguments["name"]
	if name == "" {
		return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: `argument "name" is missing`}
	}
	style := req.Params.Arguments["style"]
	if style == "" {
		style = "friendly"
	}
	ask := fmt.Sprintf("Greet %s in one sentence, in a %s tone.", name, style)
	return &mcp.GetPromptResult{
		Description: "Greets " + name,
		Messages:    []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: ask}}},
	}, nil
}

// complete offers the styles for the prompt and some names for the template.
func complete(_ context.Context, req *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
	var from []string
	switch ref, arg := req.Params.Ref, req.Params.Argument.Name; {
	case ref.Type == "ref/prompt" && ref.Name == greetPrompt && arg == "style":
		from = styles
	case ref.Type == "ref/resource" && ref.URI == greetingTemplate && arg == "name":
		from = []string{"Ada", "Grace", "Linus"}
	}
	found := []string{} // an empty list is [], never null
	for _, v := range from {
		if strings.HasPrefix(strings.ToLower(v), strings.ToLower(req.Params.Argument.Value)) {
			found = append(found, v)
		}
	}
	return &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: found, Total: len(found)}}, nil
}
