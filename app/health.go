package app

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sort"
	"time"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/telemetry"
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
	Store   identity.Source            `json:"store"`
	Issuers map[string]identity.Source `json:"issuers,omitempty"`
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
	r.Reasons = append(r.Reasons, s.unknowing(&r)...)
	failed := 0
	for name, st := range r.Servers {
		if st.State == upstream.StateFailed {
			failed++
			r.Reasons = append(r.Reasons, "server "+name+": "+st.Reason)
			continue
		}
		for _, in := range st.Instances {
			if in.Out() {
				r.Reasons = append(r.Reasons, "server "+name+": instance "+in.Instance+" is "+in.State+": "+in.Reason)
			}
		}
	}
	if r.Config.Error != "" {
		r.Reasons = append(r.Reasons, "configuration: "+r.Config.Error)
	}
	if !r.Cluster.Connected {
		r.Reasons = append(r.Reasons, "cluster: "+r.Cluster.Reason)
	}
	for _, other := range s.node.Strangers() {
		r.Reasons = append(r.Reasons, "seal.keys: "+other.String()+": give all replicas the same")
	}
	if n, local, shared := s.limits.Shared(); shared && local && len(s.gw.Plan().Config.Limits) > 0 {
		why := "other replicas cannot be asked"
		if r.Cluster.Connected && r.Cluster.Reason != "" {
			why = "Redis answers: " + r.Cluster.Reason
		}
		r.Reasons = append(r.Reasons, fmt.Sprintf("limits: 1 of %d parts of each counts here, because %s", n, why))
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

// unknowing tells what is not known of callers: keys of the store, and of issuers. What was known before counts on.
func (s *server) unknowing(r *readiness) (reasons []string) {
	r.Store, r.Issuers = s.identity.Sources()
	if r.Store.Error != "" {
		reasons = append(reasons, "store: "+r.Store.Error)
	}
	for issuer, is := range r.Issuers {
		if is.Error != "" {
			reasons = append(reasons, "issuer "+issuer+": "+is.Error)
		}
	}
	return reasons
}

// sites are the instances and bounds that the metrics tell of.
func (s *server) sites() (all []telemetry.Site, bounds []telemetry.Bound) {
	for server, st := range s.gw.Status() {
		for _, in := range st.Instances {
			all = append(all, telemetry.Site{
				Server: server, Instance: in.Instance, Up: !in.Out(), Broken: in.Broken,
				InFlight: in.InFlight, Calls: in.Calls, Ejections: in.Ejections,
			})
		}
		if b := st.Concurrency; b != nil {
			bounds = append(bounds, telemetry.Bound{Server: server, Limit: b.Limit, InFlight: b.InFlight})
		}
	}
	return all, bounds
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
