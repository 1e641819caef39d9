package v1

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// stateFile recognises ~/.claude.json, in which Claude Code keeps its servers
// among everything else that it remembers.
func stateFile(root *yaml.Node) *Problem {
	for i := 0; i+1 < len(root.Content); i += 2 {
		if key := root.Content[i]; key.Value == "numStartups" || key.Value == "projects" {
			return &Problem{Line: key.Line, Message: "looks like the state file of Claude Code, which holds much besides servers; " +
				"copy its mcpServers into a file of their own: jq '{mcpServers}' ~/.claude.json > mcp.json"}
		}
	}
	return nil
}

// editorVariables are those of VS Code, Cursor and their like that are names of
// an environment variable too, or that a value of a server may hold.
var editorVariables = []string{
	"cwd", "extensionInstallFolder", "file", "fileBasename", "fileDirname", "pathSeparator", "relativeFile", "userHome",
	"workspaceFolder", "workspaceFolderBasename", "workspaceRoot", "/",
}

// editorVariable says what to write instead of a variable that only an editor
// knows. It is "" for any other reference.
func editorVariable(ref string) string {
	name, _, scoped := strings.Cut(ref, ":")
	const only = "has the reference ${%s}, which only an editor can fill; write "
	switch {
	case scoped && (name == "input" || name == "promptString" || name == "command"):
		return fmt.Sprintf(only+"${env:NAME} or ${file:/path} instead", clip(ref))
	case scoped && name == "config":
		return fmt.Sprintf(only+"the value itself, or ${env:NAME}", clip(ref))
	case name == "pathSeparator" || name == "/":
		return fmt.Sprintf(only+"/ instead", clip(ref))
	case slices.Contains(editorVariables, name):
		return fmt.Sprintf(only+"the folder's path itself, or ${env:NAME}", clip(ref))
	}
	return ""
}
