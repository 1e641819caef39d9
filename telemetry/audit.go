package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Audit is how the audit log is doing at one moment.
type Audit struct {
	// On says that something is recorded, Failing that nothing can be.
	On, Failing bool
	// Records is the number of the last record.
	Records uint64
	// Cuts is how often somebody else has cut its file short, Intrusions how often it was found to hold what somebody else wrote.
	Cuts, Intrusions int64
	Sinks            []AuditSink
}

// AuditSink is how a sink of it is doing.
type AuditSink struct {
	Name    string
	Behind  int64 // bytes of records that it has not got yet
	Failing bool
}

// Audit has the metrics of the audit log show what read tells at each scrape. It is called once.
func (m *Metrics) Audit(read func() Audit) { m.registry.MustRegister(auditing(read)) }

// auditing collects when it is scraped.
type auditing func() Audit

var (
	auditRecords = desc("toolcrib_audit_sequence")
	auditFailing = desc("toolcrib_audit_failing")
	auditCuts    = desc("toolcrib_audit_cuts_total")
	auditForeign = desc("toolcrib_audit_intrusions_total")
	auditBehind  = desc("toolcrib_audit_sink_behind_bytes")
	sinkFailing  = desc("toolcrib_audit_sink_failing")
)

// Describe implements prometheus.Collector.
func (auditing) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{auditRecords, auditFailing, auditCuts, auditForeign, auditBehind, sinkFailing} {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (read auditing) Collect(ch chan<- prometheus.Metric) {
	now := read()
	if !now.On {
		return
	}
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(auditRecords, float64(now.Records))
	gauge(auditFailing, flag(now.Failing))
	ch <- prometheus.MustNewConstMetric(auditCuts, prometheus.CounterValue, float64(now.Cuts))
	ch <- prometheus.MustNewConstMetric(auditForeign, prometheus.CounterValue, float64(now.Intrusions))
	for _, s := range now.Sinks {
		gauge(auditBehind, float64(s.Behind), s.Name)
		gauge(sinkFailing, flag(s.Failing), s.Name)
	}
}
