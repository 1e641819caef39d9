package system_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestSlowHeader: who does not get its header sent in ten seconds loses its connection, however steadily it sends.
func TestSlowHeader(t *testing.T) {
	t.Parallel()
	g := testenv.Serve(t, testenv.Config{})
	for name, head := range map[string]string{"nothing": "", "half a header": "POST /mcp HTTP/1.1\r\nHost: localhost\r\n"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c, err := new(net.Dialer).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.URL, "http://"))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			fmt.Fprint(c, head)
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				_, _ = io.Copy(io.Discard, c) // until the gateway ends it
			}()
			tick := time.NewTicker(500 * time.Millisecond)
			defer tick.Stop()
			for end := time.After(testenv.Patience); ; {
				select {
				case <-ended:
					return
				case <-end:
					t.Fatal("the connection is still open")
				case <-tick.C:
					if head != "" {
						fmt.Fprint(c, "X: y\r\n")
					}
				}
			}
		})
	}
}
