package app

import (
	"encoding/json"
	"net/http"
	"sort"
	"time"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/front"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/upstream"
)

// handler is every route there is. What is not an operator's is the front's, which refuses paths that no endpoint has.
func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.alive)
	mux.HandleFunc("GET /healthz", s.alive)
	mux.HandleFunc("GET /health/ready", s.ready)
	mux.HandleFunc("GET /readyz", s.ready)
	mux.Handle("GET /metrics", s.keyed(s.metrics.Handler()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, pattern := operators(mux, r); pattern == "" {
			s.front.ServeHTTP(w, r)
			return
		}
		if err := front.CheckOrigin(r, s.gw.Plan().Config, s.loopback); s.loopback && err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// operators spares requests to MCP endpoints the search through the routes.
func operators(mux *http.ServeMux, r *http.Request) (http.Handler, string) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return nil, ""
	}
	return mux.Handler(r)
}

// keyed demands a key where keys are configured: metrics name servers and tools.
func (s *server) keyed(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := s.identify(r); err != nil {
			from := identity.RequestOf(r, "")
			w.Header()["Www-Authenticate"] = s.gw.Callers().Challenge(err, &from)
			http.Error(w, err.Error(), errs.Of(err).Kind.HTTP())
			return
		}
		h.ServeHTTP(w, r)
	})
}

// identify tells why the caller of an operator's route is nobody known; nil where no keys are configured.
func (s *server) identify(r *http.Request) error {
	from := identity.RequestOf(r, "")
	_, err := s.gw.Callers().Identify(r.Context(), &from)
	return err
}

func (s *server) alive(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok"})
}

// readiness is the body of /health/ready.
type readiness struct {
	Status  string                     `json:"status"` // ready, degraded or unready
	Reasons []string                   `json:"reasons,omitempty"`
	Version string                     `json:"version"`
	Uptime  string                     `json:"uptime"`
	Config  *configState               `json:"config"`
	Cluster cluster.Status             `json:"cluster"`
	Audit   *audit.Status              `json:"audit,omitempty"`
	Servers map[string]upstream.Status `json:"servers"`
}

// ready answers 503 only when this replica cannot do its work: it is stopping, or every server has failed. Without its
// cluster it does all but what takes another replica. Why something failed may tell addresses and what a server printed, so
// where keys are configured it takes one to read that.
func (s *server) ready(w http.ResponseWriter, req *http.Request) {
	r := readiness{
		Status: "ready", Version: s.o.Version, Uptime: time.Since(s.started).Round(time.Second).String(),
		Config: s.applied.Load(), Cluster: s.node.Status(), Servers: s.gw.Status(),
	}
	r.Reasons = append(r.Reasons, s.unrecorded(&r)...)
	failed := 0
	for name, st := range r.Servers {
		if st.State == upstream.StateFailed {
			failed++
			r.Reasons = append(r.Reasons, "server "+name+": "+st.Reason)
		}
	}
	if r.Config.Error != "" {
		r.Reasons = append(r.Reasons, "configuration: "+r.Config.Error)
	}
	if !r.Cluster.Connected {
		r.Reasons = append(r.Reasons, "cluster: "+r.Cluster.Reason)
	}
	sort.Strings(r.Reasons)
	code := http.StatusOK
	if len(r.Reasons) > 0 {
		r.Status = "degraded"
	}
	if failed > 0 && failed == len(r.Servers) {
		r.Status, code = "unready", http.StatusServiceUnavailable
	}
	if s.draining.Load() {
		r.Status, code = "unready", http.StatusServiceUnavailable
		r.Reasons = append(r.Reasons, "draining: this replica is stopping")
	}
	if s.identify(req) != nil {
		r.Reasons = nil
		for name, st := range r.Servers {
			st.Reason = ""
			r.Servers[name] = st
		}
		r.Config, r.Cluster.Reason, r.Audit = &configState{At: r.Config.At}, "", nil
	}
	writeJSON(w, code, r)
}

// unrecorded tells what is wrong with the audit log.
func (s *server) unrecorded(r *readiness) (reasons []string) {
	r.Audit = s.audit.Status()
	if r.Audit == nil {
		return nil
	}
	if r.Audit.Error != "" {
		reasons = append(reasons, "audit: records cannot be written: "+r.Audit.Error)
	}
	for _, sink := range r.Audit.Sinks {
		if sink.Error != "" {
			reasons = append(reasons, "audit: sink "+sink.Name+": "+sink.Error)
		}
	}
	return reasons
}

func writeJSON(w http.ResponseWriter, code int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return // the client is gone and needs no answer
	}
}
