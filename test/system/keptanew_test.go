package system_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestKeptWatchedAnew: what changed while nobody watched it is not given to whoever watches it later.
func TestKeptWatchedAnew(t *testing.T) {
	t.Parallel()
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			t.Parallel()
			behind, tell := &counted{}, &testenv.Teller{}
			s := k.server(t, tell.Telling(behind.script()))
			g := testenv.Serve(t, testenv.One(s))
			c := g.Modern("/servers/one/mcp")
			other := c.Listen("1", `{"toolsListChanged":true}`) // by which the server is watched on
			other.Await(acknowledged, 1)
			q := keptRequests["resource"]
			many := []string{`"mem://a"`}
			for i := range 999 { // so many do not linger
				many = append(many, strconv.Quote(fmt.Sprint("mem://", i)))
			}
			watch := func() *testenv.Ear {
				ear := c.Listen("2", `{"resourceSubscriptions":[`+strings.Join(many, ",")+`]}`)
				ear.Await(acknowledged, 1)
				return ear
			}
			ear := watch()
			testenv.Eventually(t, "it is kept", func() bool { return agedOf(t, c.Do(q)).There })
			ear.Close()
			testenv.Eventually(t, "it is not watched any more", func() bool {
				_, uris := tell.Watched()
				return len(uris) == 0
			})
			n := behind.asked.Load()
			defer watch().Close()
			if r := c.Do(q); agedOf(t, r).There || behind.asked.Load() == n {
				t.Errorf("it may have changed meanwhile: %v", r)
			}
			testenv.Eventually(t, "it is kept again", func() bool { return agedOf(t, c.Do(q)).There })
		})
	}
}
