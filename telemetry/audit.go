package telemetry

import "github.com/prometheus/client_golang/prometheus"

// Audit is how the audit log is doing at one moment.
type Audit struct {
	// On says that something is recorded, Failing that nothing can be.
	On, Failing bool
	// Records is the number of the last record.
	Records uint64
	Sinks   []AuditSink
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
	auditRecords = prometheus.NewDesc("toolcrib_audit_sequence", "Number of the last record of the audit log.", nil, nil)
	auditFailing = prometheus.NewDesc("toolcrib_audit_failing", "1 while no record can be written to the audit log, so that calls are refused.", nil, nil)
	auditBehind  = prometheus.NewDesc("toolcrib_audit_sink_behind_bytes", "Records that a sink of the audit log has not got yet.", []string{"sink"}, nil)
	sinkFailing  = prometheus.NewDesc("toolcrib_audit_sink_failing", "1 while a sink of the audit log takes no records.", []string{"sink"}, nil)
)

// Describe implements prometheus.Collector.
func (auditing) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{auditRecords, auditFailing, auditBehind, sinkFailing} {
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
	for _, s := range now.Sinks {
		gauge(auditBehind, float64(s.Behind), s.Name)
		gauge(sinkFailing, flag(s.Failing), s.Name)
	}
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}
