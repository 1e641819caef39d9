package front_test

import (
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestSessionsExpire: a session that nobody ends is counted when it expires, once, at the replica where it began; an ended one is not.
func TestSessionsExpire(t *testing.T) {
	t.Parallel()
	f, _ := serve(t, 2, testenv.Script{Tools: testenv.Tools(1)})
	c := *f.config
	c.Sessions.TTL = v1.Duration(8 * time.Second)
	f.replicas = append(f.replicas, f.start(f.replicas[0].cluster, &c)) // of which sessions end soon
	const soon = 2
	f.client(0) // which stays
	const began = 5
	ended := map[int]int{}
	for i := range began {
		c, at := f.client(soon), []int{soon, 1, 0, 0, 0}[i]
		if at != 0 && f.at(at, c).Delete() == http.StatusNoContent { // but for one that has expired already
			ended[at]++
		}
	}
	count := func(i int, reason string) int {
		rec := httptest.NewRecorder()
		f.replicas[i].metrics.Handler().ServeHTTP(rec, httptest.NewRequest("GET", "/metrics", nil))
		for line := range strings.Lines(rec.Body.String()) {
			if n, ok := strings.CutPrefix(line, `mcp_sessions_ended_total{reason="`+reason+`"} `); ok {
				n, _ := strconv.Atoi(strings.TrimSpace(n))
				return n
			}
		}
		return 0
	}
	testenv.Eventually(t, "the others expire", func() bool { return count(soon, "expired") >= began-ended[soon]-ended[1] })
	got := []int{count(soon, "client"), count(1, "client"), count(soon, "expired"), count(1, "expired") + count(0, "expired")}
	if want := []int{ended[soon], ended[1], began - ended[soon] - ended[1], 0}; !slices.Equal(got, want) {
		t.Errorf("ended where they began, elsewhere, expired there, elsewhere: %v, not %v", got, want)
	}
}
