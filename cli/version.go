package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/toolcrib/toolcrib/mcp"
)

type versionCmd struct {
	Output string `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (*versionCmd) Help() string {
	return `Examples:

    toolcrib version
    toolcrib version -o json
`
}

// buildInfo is the answer of version --output json.
type buildInfo struct {
	Version   string   `json:"version"`
	Revision  string   `json:"revision,omitempty"`
	Time      string   `json:"time,omitempty"`
	Modified  bool     `json:"modified"`
	Go        string   `json:"go"`
	Platform  string   `json:"platform"`
	Protocols []string `json:"protocols"` // MCP versions, newest first
}

func (c *versionCmd) Run(sys *system) error {
	b := readBuildInfo()
	if c.Output == "json" {
		return writeJSON(sys.stdout, b)
	}
	_, err := fmt.Fprintf(sys.stdout, "toolcrib %s (%s, %s)\nMCP %s\n",
		b.Version, b.Go, b.Platform, strings.Join(b.Protocols, ", "))
	return err
}

func readBuildInfo() buildInfo {
	b := buildInfo{
		Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Protocols: mcp.AllVersions(),
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.time":
			b.Time = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

// version is what this program calls itself towards servers and clients.
func version() string { return readBuildInfo().Version }
