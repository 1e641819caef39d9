package testenv

import (
	"bytes"
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
)

// ServedBy is the header in which the balancer says which replica answered.
const ServedBy = "X-Served-By"

// balancer sends each request to a replica chosen at random; one that nobody listens at is passed over, as any balancer does.
type balancer struct {
	url      string
	replicas []*Replica
	http     *http.Client

	mu     sync.Mutex
	forced []int
	served []int
}

func newBalancer(t testing.TB, replicas []*Replica) *balancer {
	b := &balancer{replicas: replicas, http: newHTTPClient(), served: make([]int, len(replicas))}
	srv := httptest.NewServer(b)
	b.url = srv.URL
	t.Cleanup(func() {
		srv.CloseClientConnections()
		srv.Close()
		b.http.CloseIdleConnections()
	})
	return b
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
	return rand.Perm(len(b.replicas)) //nolint:gosec // chance, not a secret
}

// ServeHTTP implements http.Handler.
func (b *balancer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the sender gave up
	}
	for _, i := range b.order() {
		resp, err := b.send(r, b.replicas[i].URL, body)
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
