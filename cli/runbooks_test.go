package cli

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	// spans are commands as pages show them, in a line or in a block.
	spans = regexp.MustCompile("(?m)`toolcrib ([^`]+)`|^toolcrib (.+)$")
	// words are those of a command line, with quotes around some.
	words = regexp.MustCompile(`"[^"]*"|\S+`)
)

// TestRunbookCommands: who is woken at night finds that the commands of the runbooks exist, with their flags.
func TestRunbookCommands(t *testing.T) {
	pages, err := filepath.Glob("../docs/runbooks/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatalf("runbooks: %v, %v", pages, err)
	}
	for _, page := range append(pages, "../docs/alerts.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, span := range spans.FindAllStringSubmatch(string(text), -1) {
			line, _, _ := strings.Cut(span[1]+span[2], " > ")
			var args []string
			for _, word := range words.FindAllString(line, -1) {
				args = append(args, strings.Trim(word, `"`))
			}
			parser, err := newParser(io.Discard, io.Discard, func(int) {})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(args); err != nil {
				t.Errorf("%s: toolcrib %s: %v", filepath.Base(page), line, err)
			}
		}
	}
}
