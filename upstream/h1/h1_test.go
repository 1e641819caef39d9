package h1_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/upstream/h1"
)

func TestEcho(t *testing.T) {
	for _, secure := range []bool{false, true} {
		s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			b, _ := io.ReadAll(r.Body)
			_, _ = w.Write(b)
		}))
		o := h1.Options{}
		if secure {
			s.StartTLS()
			o.TLS = s.Client().Transport.(*http.Transport).TLSClientConfig
		} else {
			s.Start()
		}
		o.Addr = address(s)
		c := h1.New(o)
		var p h1.Response
		for _, size := range []int{0, 1, 100, 5000, 9000, 40_000, 1 << 20, 10} {
			want := strings.Repeat("x", size)
			if err := c.Do(context.Background(), post("/", want[:size/2], want[size/2:]), &p); err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(&p)
			if err != nil || string(got) != want || p.Status() != 200 {
				t.Fatalf("secure %v size %d: %d bytes, status %d, %v", secure, size, len(got), p.Status(), err)
			}
			p.Close()
		}
		if st := c.Stats(); st.Dials != 1 || st.Idle != 1 || st.Active != 0 {
			t.Errorf("secure %v: %+v", secure, st)
		}
		c.Close()
		s.Close()
	}
}
