package app

import (
	"encoding/json"
	"net/http"
	"sort"
	"time"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/upstream"
)

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
// cluster it does all but what takes another replica. All but that may tell names, addresses and what a server printed, so
// where callers are known it takes the action servers:read to read it.
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
	if s.permitted(req, control.ServersRead) != nil {
		writeJSON(w, code, map[string]string{"status": r.Status})
		return
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
