package upstream_test

import (
	"context"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/upstream"
)

// TestAwayForLong: instances that never answer, and a name that never resolves, are asked for again every now and then, however
// long that lasts.
func TestAwayForLong(t *testing.T) {
	// What net makes at the first look-up must not belong to a bubble: others look up names, too.
	nowhere := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, "127.0.0.1:1")
	}}
	if _, err := nowhere.LookupHost(t.Context(), "nobody.invalid"); err == nil {
		t.Fatal("somebody")
	}
	away := map[string]func(*v1.Server){
		"instances": func(s *v1.Server) {
			s.URLs = []v1.Instance{{URL: "http://127.0.0.1:1/mcp", Weight: 1}, {URL: "http://127.0.0.1:2/mcp", Weight: 1}}
			s.URL = s.URLs[0].URL
		},
		"probed": func(s *v1.Server) {
			s.URL = "http://127.0.0.1:1/mcp"
			s.Health.Active = &v1.ActiveHealth{Kind: "tcp", Interval: v1.Duration(time.Minute), Timeout: v1.Duration(time.Second)}
		},
		"name": func(s *v1.Server) {
			s.URL = "http://nobody.invalid:1/mcp"
			s.DNS = &v1.DNS{Records: "a", Refresh: v1.Duration(10 * time.Second), Resolver: "127.0.0.1:1"}
		},
	}
	for name, change := range away {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var spec v1.Server
				spec.SetDefaults()
				spec.Type = v1.TypeHTTP
				change(&spec)
				srv := upstream.Open(&spec, upstream.Options{Name: "one", Version: "test"})
				defer srv.Close()
				time.Sleep(2 * time.Hour)
				st := srv.Status()
				if st.State == upstream.StateReady {
					t.Errorf("%+v", st)
				}
				if name == "name" && !strings.Contains(st.Reason, "lookup nobody.invalid on 127.0.0.1:1:") {
					t.Errorf("nobody knows from it which name server was asked: %+v", st)
				}
			})
		})
	}
}
