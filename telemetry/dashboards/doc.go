// Package dashboards makes the dashboards for Grafana that are shipped in deploy/grafana, from one table. A test runs each of their
// queries in a real Prometheus.
package dashboards

//go:generate go test . -run TestShipped -update
