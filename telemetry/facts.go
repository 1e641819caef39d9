package telemetry

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Facts is what an operator has to look after, at one moment. Times that are zero are not told.
type Facts struct {
	// Applied says that the present configuration is the one last given, AppliedAt when it was applied.
	Applied   bool
	AppliedAt time.Time
	// SealKey is when the newest key of the ring came into use.
	SealKey time.Time
	// Certificates are when those in use end, by what they are for; Credentials when the first one of a kind ends.
	Certificates, Credentials map[string]time.Time
	// Sources tell whether knowledge of callers can be read where it comes from.
	Sources map[string]bool
	// Sessions is how many sessions of clients are open.
	Sessions int
}

// Facts has the metrics of facts show what read tells at each scrape. It is called once.
func (m *Metrics) Facts(read func() Facts) { m.registry.MustRegister(facts(read)) }

// facts collects when it is scraped.
type facts func() Facts

var (
	appliedDesc     = desc("toolcrib_config_last_apply_successful")
	appliedAtDesc   = desc("toolcrib_config_last_apply_success_timestamp_seconds")
	sealKeyDesc     = desc("toolcrib_seal_key_created_timestamp_seconds")
	certificateDesc = desc("toolcrib_certificate_expiry_timestamp_seconds")
	credentialDesc  = desc("toolcrib_credential_expiry_timestamp_seconds")
	sourceDesc      = desc("toolcrib_source_up")
	sessionsDesc    = desc("mcp_sessions_active")
)

// Describe implements prometheus.Collector.
func (facts) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{appliedDesc, appliedAtDesc, sealKeyDesc, certificateDesc, credentialDesc, sourceDesc, sessionsDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (read facts) Collect(ch chan<- prometheus.Metric) {
	now := read()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	at := func(d *prometheus.Desc, t time.Time, labels ...string) {
		if !t.IsZero() {
			gauge(d, float64(t.UnixMilli())/1000, labels...)
		}
	}
	gauge(appliedDesc, flag(now.Applied))
	at(appliedAtDesc, now.AppliedAt)
	at(sealKeyDesc, now.SealKey)
	for use, t := range now.Certificates {
		at(certificateDesc, t, use)
	}
	for kind, t := range now.Credentials {
		at(credentialDesc, t, kind)
	}
	for source, up := range now.Sources {
		gauge(sourceDesc, flag(up), label(source))
	}
	gauge(sessionsDesc, float64(now.Sessions))
}
