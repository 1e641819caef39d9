package testenv

import (
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/cluster"
)

// TestAgain: a client sends again what is refused for want of the cluster's backend only if it is told to.
func TestAgain(t *testing.T) {
	t.Parallel()
	var asked atomic.Int32
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if w.Header().Set("Content-Type", "application/json"); asked.Add(1) > 3 {
			_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"result":{}}`))
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
		_, _ = w.Write([]byte(`{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"` + cluster.ErrDown.Error() + `; send it again"}}`))
	}))
	t.Cleanup(s.Close)
	c := NewClient(t, s.URL, Modern)
	if r := c.Tool("ask", "{}"); r.Status != http.StatusServiceUnavailable || asked.Load() != 1 {
		t.Errorf("%v after %d requests", r, asked.Load())
	}
	c.Again = true
	if r := c.Tool("ask", "{}"); r.Result() == nil || asked.Load() != 4 {
		t.Errorf("%v after %d requests", r, asked.Load())
	}
}
