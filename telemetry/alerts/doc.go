// Package alerts makes the rules by which Prometheus tells that something is wrong with a gateway or with a server behind it:
// recording rules, and alerts with a severity, a summary and a link to what is to be done.
//
//	table.go     the alerts: what each asks of which metrics
//	builder.go   the pieces that expressions are made of
//	values.go    thresholds, windows and objectives, with their defaults; a file replaces some
//	rules.go     values → the file of rules
//
// The rules take every metric from the catalogue: one that is not there is an error.
package alerts

//go:generate go run ../../cmd/toolcrib alerts --output ../../deploy/prometheus/rules.yaml
