package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write docs/cli.md")

const reference = "../docs/cli.md"

const referenceHead = `# The command line

<!-- Generated from the command tree: go test ./cli -run TestReference -update -->

%s

Every command explains itself with --help. Exit codes:

| code | meaning |
|---|---|
| %d | done |
| %d | the tool or the server answered with an error, or a file has problems |
| %d | the command line is wrong, or names a file that cannot be read |
| %d | a server cannot be reached or started, or the gateway cannot serve, or not close its audit log |
| %d | interrupted before it was done |
`

// TestReference keeps docs/cli.md as the command tree has it.
func TestReference(t *testing.T) {
	parser, err := newParser(io.Discard, io.Discard, func(int) {})
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, referenceHead, description, ExitOK, ExitFailed, ExitUsage, ExitUnreachable, ExitInterrupted)
	for _, node := range parser.Model.Leaves(true) {
		writeCommand(&b, node)
	}
	if *update {
		if err := os.WriteFile(reference, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(reference)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(b.String(), string(got)); d != "" {
		t.Errorf("docs/cli.md is stale; run: go test ./cli -run TestReference -update\n%s", d)
	}
}

func writeCommand(w io.Writer, node *kong.Node) {
	fmt.Fprintf(w, "\n## toolcrib %s\n\n%s\n\n```\ntoolcrib %s\n```\n", node.Path(), node.Help, node.Summary())
	if node.Detail != "" {
		fmt.Fprintf(w, "\n%s\n", strings.TrimSpace(node.Detail))
	}
	if len(node.Positional) > 0 {
		fmt.Fprintf(w, "\n| argument | meaning |\n|---|---|\n")
		for _, p := range node.Positional {
			fmt.Fprintf(w, "| `%s` | %s |\n", p.Summary(), p.Help)
		}
	}
	if len(node.Flags) == 0 {
		return
	}
	fmt.Fprintf(w, "\n| flag | meaning |\n|---|---|\n")
	for _, f := range node.Flags {
		name := f.String()
		if f.Short != 0 {
			name = fmt.Sprintf("-%c, --%s", f.Short, strings.SplitN(name, "--", 2)[1])
		}
		help := f.Help
		for _, env := range f.Envs {
			help += " Variable: `" + env + "`."
		}
		fmt.Fprintf(w, "| `%s` | %s |\n", name, help)
	}
}
