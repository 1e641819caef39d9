package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"
)

// traced are the gateways that trace, and which share of requests.
var traced = map[string]float64{"traced": 0.01, "tracedall": 1}

// tracedRows compare a gateway that traces with one that does not.
func tracedRows() []row {
	all := make([]row, 0, 2*len(traced))
	for _, name := range []string{"traced", "tracedall"} {
		for _, e := range []era{modern, legacy} {
			server := string(e)
			all = append(all, row{
				name + "-" + server[:1] + server[:1], fmt.Sprintf("tools/call, 64 bytes, %s, %v %% traced", e, 100*traced[name]), e, opEcho, 0, 0,
				join(plain(fmt.Sprintf("/%s/10/mcp", e))[1:2], beside(through("off", server), through(name, server))),
			})
		}
	}
	return all
}

// takeSpans starts what takes traces and forgets them, if it is not there yet.
func (w *world) takeSpans() error {
	if w.spans != "" {
		return nil
	}
	ln, err := new(net.ListenConfig).Listen(w.ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
	})}
	context.AfterFunc(w.ctx, func() { _ = srv.Close() })
	go func() { _ = srv.Serve(ln) }()
	w.spans = ln.Addr().String()
	return nil
}
