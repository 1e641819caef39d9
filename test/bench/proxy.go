package main

import (
	"flag"
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
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(upstream) },
		Transport:  &http.Transport{MaxIdleConnsPerHost: 1024, IdleConnTimeout: 90 * time.Second, DisableCompression: true},
		BufferPool: &buffers{},
	}
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
