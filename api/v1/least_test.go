package v1_test

import (
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// TestLeast: concurrency.min that nobody set is never more than max.
func TestLeast(t *testing.T) {
	t.Parallel()
	for bound, want := range map[string]int{"{max: 3}": 3, "{max: 9}": 4, "{}": 4, "{min: 2, max: 3}": 2} {
		c, problems := v1.Parse([]byte("mcpServers:\n  a: {url: \"http://127.0.0.1:1/mcp\", concurrency: "+bound+"}\n"), v1.Options{})
		if len(problems) > 0 {
			t.Errorf("%s: %v", bound, problems)
			continue
		}
		if got := c.MCPServers["a"].Concurrency.Least(); got != want {
			t.Errorf("%s: at least %d, want %d", bound, got, want)
		}
	}
}
