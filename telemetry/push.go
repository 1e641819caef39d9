package telemetry

import (
	"context"
	"log/slog"
	"reflect"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	promprod "go.opentelemetry.io/contrib/bridges/prometheus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"google.golang.org/grpc/credentials/insecure"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Pusher sends the metrics by OTLP, under the names that OpenTelemetry has for them.
type Pusher struct {
	metrics           *Metrics
	version, instance string
	log               *slog.Logger

	mu     sync.Mutex // one Configure at a time
	was    v1.Telemetry
	now    *sdkmetric.MeterProvider // nil while nothing is sent
	ending sync.WaitGroup
}

// Pusher makes one that sends nothing before it is configured. Instance tells this process from others of its kind.
func (m *Metrics) Pusher(version, instance string, log *slog.Logger) *Pusher {
	return &Pusher{metrics: m, version: version, instance: instance, log: log}
}

// Configure has the metrics be counted and sent as a configuration says.
func (p *Pusher) Configure(c *v1.Telemetry) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	want := v1.Telemetry{Disabled: c.Disabled, Service: c.Service, Resource: c.Resource, Metrics: c.Metrics}
	if reflect.DeepEqual(p.was, want) {
		return nil
	}
	var next *sdkmetric.MeterProvider
	if c.Sent() {
		var err error
		if next, err = p.open(c); err != nil {
			return err
		}
	}
	p.metrics.Bound(BoundsOf(&c.Metrics))
	p.was = want
	p.end()
	p.now = next
	return nil
}

// Close sends the last numbers, for a few seconds at most.
func (p *Pusher) Close() {
	p.mu.Lock()
	p.end()
	p.mu.Unlock()
	p.ending.Wait()
}

// end ends what sends now; the caller holds the lock.
func (p *Pusher) end() {
	last := p.now
	if p.now = nil; last == nil {
		return
	}
	p.ending.Go(func() {
		ctx, cancel := context.WithTimeout(context.Background(), flushTime)
		defer cancel()
		_ = last.Shutdown(ctx) // what fails is in the log
	})
}

// open begins to send. Nothing is connected before the first numbers are due.
func (p *Pusher) open(c *v1.Telemetry) (*sdkmetric.MeterProvider, error) {
	quieten()
	client, err := newMetricExporter(&c.Metrics)
	if err != nil {
		return nil, err
	}
	from := promprod.NewMetricProducer(promprod.WithGatherer(p.metrics.gatherer()))
	reader := sdkmetric.NewPeriodicReader(&metricExporter{client, p.metrics.exports, complaint{log: p.log, what: "metrics"}},
		sdkmetric.WithInterval(c.Metrics.Every.D()), sdkmetric.WithTimeout(c.Metrics.Timeout.D()),
		sdkmetric.WithProducer(&renaming{from, p.version}))
	return sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(Resource(c, p.version, p.instance))), nil
}

// TryMetrics tells why the collector of metrics that is configured takes none; nil where it takes an export of nothing.
func TryMetrics(ctx context.Context, c *v1.Telemetry) error {
	quieten()
	client, err := newMetricExporter(&c.Metrics)
	if err != nil {
		return err
	}
	err = client.Export(ctx, &metricdata.ResourceMetrics{Resource: Resource(c, "", "")})
	_ = client.Shutdown(ctx) // nothing is being sent
	return err
}

func newMetricExporter(c *v1.Metrics) (sdkmetric.Exporter, error) {
	headers := plain(c.Headers)
	if c.Protocol == v1.ProtocolGRPC {
		options := []otlpmetricgrpc.Option{
			otlpmetricgrpc.WithEndpointURL(c.Endpoint), otlpmetricgrpc.WithHeaders(headers), otlpmetricgrpc.WithTimeout(c.Timeout.D()),
		}
		if !encrypted(c.Endpoint) {
			options = append(options, otlpmetricgrpc.WithTLSCredentials(insecure.NewCredentials()))
		}
		return otlpmetricgrpc.New(context.Background(), options...)
	}
	options := []otlpmetrichttp.Option{
		otlpmetrichttp.WithEndpointURL(SignalURL(c.Endpoint, "metrics")), otlpmetrichttp.WithHeaders(headers),
		otlpmetrichttp.WithTimeout(c.Timeout.D()),
	}
	if !encrypted(c.Endpoint) {
		options = append(options, otlpmetrichttp.WithTLSClientConfig(nil))
	}
	return otlpmetrichttp.New(context.Background(), options...)
}

// metricExporter counts exports, and tells the log now and then of those that did not arrive.
type metricExporter struct {
	sdkmetric.Exporter
	count *prometheus.CounterVec
	log   complaint // one export runs at a time
}

// Export implements the SDK's Exporter.
func (e *metricExporter) Export(ctx context.Context, all *metricdata.ResourceMetrics) error {
	err := e.Exporter.Export(ctx, all)
	if err != nil {
		e.count.WithLabelValues("failed").Inc()
		e.log.failed(err, 1)
		return err
	}
	e.count.WithLabelValues("exported").Inc()
	e.log.worked()
	return nil
}

// renaming gives metrics the names and units that the catalogue has for OpenTelemetry.
type renaming struct {
	sdkmetric.Producer
	version string
}

// Produce implements the SDK's Producer.
func (r *renaming) Produce(ctx context.Context) ([]metricdata.ScopeMetrics, error) {
	all, err := r.Producer.Produce(ctx)
	for i := range all {
		all[i].Scope.Name, all[i].Scope.Version = scopeName, r.version
		for j := range all[i].Metrics {
			rename(&all[i].Metrics[j])
		}
	}
	return all, err
}

// known is the catalogue by name, and attributes the labels that have another name in OTLP.
var (
	known = func() map[string]*Metric {
		all := make(map[string]*Metric, len(catalogue))
		for i := range catalogue {
			all[catalogue[i].Name] = &catalogue[i]
		}
		return all
	}()
	attributes = func() map[attribute.Key]attribute.Key {
		all := map[attribute.Key]attribute.Key{}
		for _, l := range labels {
			if l.OTel != "" {
				all[attribute.Key(l.Name)] = attribute.Key(l.OTel)
			}
		}
		return all
	}()
)

func rename(m *metricdata.Metrics) {
	e := known[m.Name]
	if e == nil {
		return // of the Go runtime
	}
	m.Name, m.Unit = e.OTel, e.Unit
	switch data := m.Data.(type) {
	case metricdata.Sum[float64]:
		relabelAll(data.DataPoints, func(p *metricdata.DataPoint[float64]) *attribute.Set { return &p.Attributes })
	case metricdata.Gauge[float64]:
		relabelAll(data.DataPoints, func(p *metricdata.DataPoint[float64]) *attribute.Set { return &p.Attributes })
	case metricdata.Histogram[float64]:
		relabelAll(data.DataPoints, func(p *metricdata.HistogramDataPoint[float64]) *attribute.Set { return &p.Attributes })
	case metricdata.ExponentialHistogram[float64]:
		relabelAll(data.DataPoints, func(p *metricdata.ExponentialHistogramDataPoint[float64]) *attribute.Set { return &p.Attributes })
	}
}

func relabelAll[P any](points []P, of func(*P) *attribute.Set) {
	for i := range points {
		set := of(&points[i])
		*set = relabel(*set)
	}
}

// relabel renames attributes. One that is empty is none, as in Prometheus.
func relabel(set attribute.Set) attribute.Set {
	list := set.ToSlice()
	kept := list[:0]
	for _, kv := range list {
		if name, other := attributes[kv.Key]; other {
			kv.Key = name
		}
		if kv.Value.AsString() != "" {
			kept = append(kept, kv)
		}
	}
	return attribute.NewSet(kept...)
}
