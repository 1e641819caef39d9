package system_test

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestNoise: a process that prints without end what is no message is read slowly, so that it costs little until it is given up.
func TestNoise(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{Entries: map[string]any{
		"loud": map[string]any{"command": "yes", "timeouts": map[string]any{"start": "2s"}},
	}})
	_, text := g.Modern("/servers/loud/mcp").Tool("x", "{}").Error()
	said := regexp.MustCompile(`it sent (\d+) times a`).FindStringSubmatch(text)
	if said == nil {
		t.Fatal(text)
	}
	if n, _ := strconv.Atoi(said[1]); n < 1000 || n > 20_000 {
		t.Errorf("%d lines were read in 2 s", n)
	}
}
