package example

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const (
	modernVersion  = "2026-07-28" // the first version without a handshake
	sessionTimeout = 10 * time.Minute
	stopTimeout    = 5 * time.Second
)

// Handler serves the example server over Streamable HTTP to clients of both
// eras. The SDK's handlers know one era each, so the version header chooses:
// it is mandatory since 2026-07-28, and names an older version, or is absent,
// before. Versions are dates, which compare as text.
func Handler(version string) http.Handler {
	s := NewServer(version)
	server := func(*http.Request) *mcp.Server { return s }
	modern := mcp.NewStreamableHTTPHandler(server, &mcp.StreamableHTTPOptions{
		Stateless: true, PropagateRequestCancellation: true,
	})
	legacy := mcp.NewStreamableHTTPHandler(server, &mcp.StreamableHTTPOptions{SessionTimeout: sessionTimeout})
	return http.NewCrossOriginProtection().Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Mcp-Protocol-Version") >= modernVersion {
			modern.ServeHTTP(w, r)
			return
		}
		legacy.ServeHTTP(w, r)
	}))
}

// Serve serves Handler at /mcp of a loopback address until ctx ends, then lets
// running requests finish for a few seconds. ready is told the URL once
// connections are accepted. Other addresses are refused: the server knows no
// authentication.
func Serve(ctx context.Context, addr, version string, ready func(url string)) error {
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	if a, ok := ln.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = ln.Close()
		return fmt.Errorf("the example server has no authentication and listens on loopback only, not on %s", addr)
	}
	mux := http.NewServeMux()
	mux.Handle("/mcp", Handler(version))
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: 2 * time.Minute}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	ready("http://" + ln.Addr().String() + "/mcp")
	select {
	case err = <-served:
		return err
	case <-ctx.Done():
	}
	return stop(srv, served)
}

// stop ends a served server: gently for a while, then by closing connections.
func stop(srv *http.Server, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	err := srv.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = srv.Close() // standing streams never finish by themselves
	}
	if e := <-served; err == nil && !errors.Is(e, http.ErrServerClosed) {
		err = e
	}
	return err
}
