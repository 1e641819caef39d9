package h1_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
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

// TestSameAsNetHTTP asks a net/http server everything in both ways.
func TestSameAsNetHTTP(t *testing.T) {
	big := strings.Repeat("0123456789", 20_000)
	mux := http.NewServeMux()
	mux.HandleFunc("/length", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "200000")
		_, _ = io.WriteString(w, big)
	})
	mux.HandleFunc("/flushed", func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(big); i += 1 + i/3 {
			_, _ = io.WriteString(w, big[i:min(len(big), i+1+i/3)])
			_ = http.NewResponseController(w).Flush()
		}
	})
	mux.HandleFunc("/trailer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "Sum")
		_, _ = io.WriteString(w, big)
		w.Header().Set("Sum", "1")
	})
	mux.HandleFunc("/hints", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusProcessing)
		_, _ = io.WriteString(w, "hi")
	})
	mux.HandleFunc("/status/{code}", func(w http.ResponseWriter, r *http.Request) {
		code, _ := strconv.Atoi(r.PathValue("code"))
		w.WriteHeader(code)
	})
	mux.HandleFunc("/close", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, big)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	c := client(t, h1.Options{Addr: address(s)})
	plain := &http.Client{Transport: &http.Transport{DisableCompression: true}}
	t.Cleanup(plain.CloseIdleConnections)
	for _, method := range []string{"GET", "POST", "HEAD", "DELETE"} {
		for _, path := range []string{"/length", "/flushed", "/trailer", "/hints", "/status/204", "/status/202", "/status/404", "/close", "/status/304", "/none"} {
			compare(t, c, plain, method, s.URL, path)
		}
	}
	if st := c.Stats(); st.Active != 0 || st.Dials != 5 { // one, and one more after each /close
		t.Errorf("%+v", st)
	}
}

func compare(t *testing.T, c *h1.Client, plain *http.Client, method, base, path string) {
	t.Helper()
	q, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	want, err := plain.Do(q)
	if err != nil {
		t.Fatal(err)
	}
	wantBody, err := io.ReadAll(want.Body)
	if err != nil {
		t.Fatal(err)
	}
	_ = want.Body.Close()
	var p h1.Response
	if err := c.Do(t.Context(), &h1.Request{Head: []byte(method + " " + path + " HTTP/1.1\r\nHost: " + q.Host + "\r\n")}, &p); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer p.Close()
	body, err := io.ReadAll(&p)
	if err != nil || !bytes.Equal(body, wantBody) || p.Status() != want.StatusCode || p.ContentLength() != want.ContentLength && p.Status() != 304 && p.Status() != 204 {
		t.Errorf("%s %s: status %d, length %d, %d bytes, %v; net/http %d, %d, %d", method, path, p.Status(), p.ContentLength(), len(body), err,
			want.StatusCode, want.ContentLength, len(wantBody))
	}
	for name, values := range want.Header {
		if name != "Date" && p.Header(name) != values[0] {
			t.Errorf("%s %s: %s is %q, net/http has %q", method, path, name, p.Header(name), values[0])
		}
	}
}
