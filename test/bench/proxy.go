package main

import (
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// buffers is the buffer pool of the bare proxy.
type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte {
	if have, ok := b.pool.Get().(*[]byte); ok {
		return *have
	}
	return make([]byte, 32<<10)
}

func (b *buffers) Put(buf []byte) { b.pool.Put(&buf) }

// newProxy is the measure of everything: the least a Go program on net/http
// does to stand between two peers, with its transport tuned. It has no flush
// interval: event streams are flushed at once without one, and with one a small
// call costs a quarter more, which would flatter whoever is compared.
func newProxy(upstream *url.URL) *httputil.ReverseProxy {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(upstream)
			if r.Out.Body != nil {
				r.Out.Body = &sized{r.Out.Body, r.Out.ContentLength}
			}
		},
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second, DisableCompression: true},
		BufferPool: &buffers{},
	}
}

// sized is a body that ends by itself after as many bytes as were announced.
// The transport reads once more than it has to; where the answer comes before
// that, the server has closed the body by then, the transport takes this for a
// request that failed, and cuts off the answer it is passing on.
type sized struct {
	io.ReadCloser
	left int64 // negative when none were announced
}

func (s *sized) Read(p []byte) (int, error) {
	if s.left == 0 {
		return 0, io.EOF
	}
	n, err := s.ReadCloser.Read(p)
	if s.left > 0 {
		s.left = max(0, s.left-int64(n))
	}
	return n, err
}

// proxyMain is the bare proxy as a process of its own.
func proxyMain(args []string) error {
	set := flag.NewFlagSet("proxy", flag.ContinueOnError)
	to := set.String("upstream", "", "host:port it forwards to")
	if err := set.Parse(args); err != nil {
		return err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	server := &http.Server{Handler: newProxy(&url.URL{Scheme: "http", Host: *to}), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(l) }() // until the process ends
	return announce(l.Addr().String())
}
