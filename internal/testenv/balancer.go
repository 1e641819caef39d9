package testenv

import (
	"bytes"
	"context"
	"errors"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"
)

// ServedBy is the header in which the balancer says which replica answered.
const ServedBy = "X-Served-By"

// probeEvery is how often a balancer that heeds asks.
const probeEvery = 50 * time.Millisecond

// balancer sends each request to a replica chosen at random; one that nobody listens at is passed over, as any balancer does.
type balancer struct {
	url  string
	http *http.Client

	mu       sync.Mutex
	replicas []string // by their base URLs
	away     []bool   // those that are not ready, where that is heeded
	forced   []int
	served   []int
}

func newBalancer(t testing.TB, replicas []*Replica) *balancer {
	b := &balancer{http: newHTTPClient(), away: make([]bool, len(replicas)), served: make([]int, len(replicas))}
	for _, r := range replicas {
		b.replicas = append(b.replicas, r.URL)
	}
	srv := httptest.NewServer(b)
	b.url = srv.URL
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		b.http.CloseIdleConnections()
	})
	return b
}

// heed has replicas get nothing that are not ready, until the test ends.
func (b *balancer) heed(t testing.TB) {
	ctx, cancel := context.WithCancel(context.Background())
	var probes sync.WaitGroup
	for i := range b.away {
		probes.Go(func() {
			tick := time.NewTicker(probeEvery)
			defer tick.Stop()
			for ctx.Err() == nil {
				ready := isReady(ctx, b.http, b.at(i))
				b.mu.Lock()
				b.away[i] = !ready
				b.mu.Unlock()
				<-tick.C
			}
		})
	}
	t.Cleanup(func() {
		cancel()
		probes.Wait()
	})
}

func (b *balancer) at(i int) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.replicas[i]
}

// replace has another process be replica i.
func (b *balancer) replace(i int, url string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.replicas[i] = url
}

func (b *balancer) force(i int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.forced = append(b.forced, i)
}

func (b *balancer) counts() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.served)
}

// order is in which order the replicas are tried for a request.
func (b *balancer) order() []int {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.forced) > 0 {
		first := b.forced[0]
		b.forced = b.forced[1:]
		return []int{first}
	}
	all := rand.Perm(len(b.replicas)) //nolint:gosec // chance, not a secret
	return slices.DeleteFunc(all, func(i int) bool { return b.away[i] })
}

// ServeHTTP implements http.Handler.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender gave up
	}
	for _, i := range b.order() {
		resp, err := b.send(r, b.at(i), body)
		if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
			continue
		}
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		b.mu.Lock()
		b.served[i]++
		b.mu.Unlock()
		w.Header().Set(ServedBy, strconv.Itoa(i))
		relay(w, resp)
		return
	}
	w.WriteHeader(http.StatusServiceUnavailable)
}

func (b *balancer) send(r *http.Request, to string, body []byte) (*http.Response, error) {
	out, err := http.NewRequestWithContext(r.Context(), r.Method, to+r.URL.RequestURI(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.Header, out.Host = r.Header.Clone(), r.Host
	return b.http.Do(out)
}

// relay passes an answer on as it comes; one that breaks off breaks off here too.
func relay(w http.ResponseWriter, resp *http.Response) {
	defer resp.Body.Close()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	out := http.NewResponseController(w)
	_ = out.Flush()
	buf := make([]byte, 16<<10)
	for {
		n, err := resp.Body.Read(buf)
		if _, gone := w.Write(buf[:n]); gone != nil {
			return
		}
		_ = out.Flush()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			panic(http.ErrAbortHandler)
		}
	}
}
