package telemetry

import (
	"context"
	"log/slog"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/grpclog"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

const (
	batchSpans = 512
	batchTime  = time.Second
	scopeName  = "github.com/toolcrib/toolcrib"
	errorMost  = 200 // bytes of an error in the log: the collector writes some of it
	errorEvery = time.Minute

	// A collector that is busy is asked again, as long as the export may take.
	retryFirst, retryLast = 500 * time.Millisecond, 5 * time.Second
)

// pipeline is the way of spans out of the process. Spans wait in batches as they are sent, of which there is a bounded number.
type pipeline struct {
	client  otlptrace.Client
	about   *tracepb.ResourceSpans // all but the spans
	timeout time.Duration
	room    int64 // how many spans may wait, those that are being sent included, beside those of one request
	most    int64 // in a batch, but for what comes with the last
	counts  *traceCounts
	log     complaint // one batch is exported at a time
	writers sync.Pool
	life    context.Context    //nolint:containedctx // of what is being sent
	stop    context.CancelFunc // ends it
	full    chan struct{}      // a batch is
	closing chan struct{}
	ended   chan struct{}

	mu      sync.Mutex
	batches []batch
	spare   []byte // room of a batch that was sent
	waiting int64
	closed  bool
}

// batch holds spans as OTLP has them in a ScopeSpans.
type batch struct {
	spans []byte
	count int64
}

// newPipeline opens a way. Nothing is connected before there is something to send.
func newPipeline(c *v1.Telemetry, t *Tracer) (*pipeline, error) {
	quieten()
	p := &pipeline{
		client: newExporter(&c.Traces), about: about(c, t.version, t.instance), timeout: c.Traces.Timeout.D(), room: int64(c.Traces.Queue),
		most: int64(min(batchSpans, c.Traces.Queue)), counts: &t.counts, log: complaint{log: t.log, what: "traces"},
		full: make(chan struct{}, 1), closing: make(chan struct{}), ended: make(chan struct{}),
	}
	p.writers.New = func() any { return new(spanWriter) }
	p.life, p.stop = context.WithCancel(context.Background())
	if err := p.client.Start(p.life); err != nil {
		p.stop()
		return nil, err
	}
	go p.run()
	return p, nil
}

// about is what all batches say of where they come from.
func about(c *v1.Telemetry, version, instance string) *tracepb.ResourceSpans {
	list := Resource(c, version, instance).Attributes()
	attributes := make([]*commonpb.KeyValue, len(list))
	for i, a := range list {
		attributes[i] = &commonpb.KeyValue{
			Key: string(a.Key), Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: a.Value.AsString()}},
		}
	}
	return &tracepb.ResourceSpans{
		Resource:   &resourcepb.Resource{Attributes: attributes},
		ScopeSpans: []*tracepb.ScopeSpans{{Scope: &commonpb.InstrumentationScope{Name: scopeName, Version: version}}},
	}
}

// add has spans sent, unless too many wait.
func (p *pipeline) add(spans []byte, count int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.waiting > 0 && p.waiting+count > p.room {
		p.counts.dropped.Add(count)
		return
	}
	p.waiting += count
	last := len(p.batches) - 1
	if last < 0 || p.batches[last].count >= p.most {
		p.batches = append(p.batches, batch{spans: p.spare})
		p.spare = nil
		last++
	}
	b := &p.batches[last]
	b.spans, b.count = append(b.spans, spans...), b.count+count
	if b.count >= p.most {
		select {
		case p.full <- struct{}{}:
		default:
		}
	}
}

// run sends what waits, full batches at once and the others after a while.
func (p *pipeline) run() {
	defer close(p.ended)
	tick := time.NewTicker(batchTime)
	defer tick.Stop()
	for {
		least := int64(0)
		select {
		case <-p.full:
			least = p.most
		case <-tick.C:
		case <-p.closing:
			p.sendAll(least)
			return
		}
		p.sendAll(least)
	}
}

// sendAll sends the batches that have as many spans.
func (p *pipeline) sendAll(least int64) {
	for {
		b := p.next(least)
		if b.count == 0 {
			return
		}
		p.send(b)
	}
}

func (p *pipeline) next(least int64) batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.batches) == 0 || p.batches[0].count < least {
		return batch{}
	}
	b := p.batches[0]
	p.batches = slices.Delete(p.batches, 0, 1)
	return b
}

// send exports a batch, and counts what became of it. The client tries again as long as that may take.
func (p *pipeline) send(b batch) {
	err := p.life.Err()
	if err == nil {
		p.about.GetScopeSpans()[0].ProtoReflect().SetUnknown(b.spans) // they are written already: the client sends them as they are
		ctx, cancel := context.WithTimeout(p.life, p.timeout)
		err = p.client.UploadTraces(ctx, []*tracepb.ResourceSpans{p.about})
		cancel()
	}
	p.mu.Lock()
	p.waiting, p.spare = p.waiting-b.count, b.spans[:0]
	p.mu.Unlock()
	if err != nil {
		p.counts.failed.Add(b.count)
		p.log.failed(err, b.count)
		return
	}
	p.counts.exported.Add(b.count)
	p.log.worked()
}

// close sends what waits, at most for a time.
func (p *pipeline) close(limit time.Duration) {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	close(p.closing)
	timer := time.AfterFunc(limit, p.stop)
	defer timer.Stop()
	<-p.ended
	p.stop()
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	_ = p.client.Stop(ctx) // nothing is being sent any more
}

// complaint tells the log that something is not exported, and that it is again: once in a while, however often that changes.
type complaint struct {
	log  *slog.Logger
	what string

	told time.Time
	open bool  // it was told that it fails, and not yet that it works
	lost int64 // since it was told
}

func (c *complaint) failed(err error, n int64) {
	c.lost += n
	if now := time.Now(); now.Sub(c.told) >= errorEvery {
		c.log.Warn(c.what+" were not exported", "lost", c.lost, "error", short(err))
		c.open, c.told, c.lost = true, now, 0
	}
}

func (c *complaint) worked() {
	if c.open {
		c.open = false
		c.log.Info(c.what + " are exported again")
	}
}

// short is an error as it may be logged: the other end wrote some of it.
func short(err error) string {
	s := err.Error()
	if len(s) > errorMost {
		s = s[:errorMost] + "…"
	}
	return strings.ToValidUTF8(s, "?")
}

// quieten keeps the SDK and gRPC from printing for themselves: what the SDK says of its variables holds what is in them, and failures
// are told here.
var quieten = sync.OnceFunc(func() {
	grpclog.SetLoggerV2(grpcLogger{}) // before gRPC is used at all
	otel.SetLogger(logr.Discard())
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(error) {}))
})

// Resource is what telemetry is of: this process of this program, as the configuration names it.
func Resource(c *v1.Telemetry, version, instance string) *resource.Resource {
	list := []attribute.KeyValue{attribute.String("service.version", version), attribute.String("service.instance.id", instance)}
	for name, value := range c.Resource {
		list = append(list, attribute.String(name, value))
	}
	return resource.NewSchemaless(append(list, attribute.String("service.name", c.Service))...)
}

// newExporter speaks to a collector. What the configuration does not say, such as certificates, the OTEL_* variables may.
func newExporter(c *v1.Traces) otlptrace.Client {
	headers := plain(c.Headers)
	if c.Protocol == v1.ProtocolGRPC {
		options := []otlptracegrpc.Option{
			otlptracegrpc.WithEndpointURL(c.Endpoint), otlptracegrpc.WithHeaders(headers),
			otlptracegrpc.WithTimeout(c.Timeout.D()), otlptracegrpc.WithRetry(otlptracegrpc.RetryConfig{
				Enabled: true, InitialInterval: retryFirst, MaxInterval: retryLast, MaxElapsedTime: c.Timeout.D(),
			}),
		}
		if !encrypted(c.Endpoint) {
			options = append(options, otlptracegrpc.WithTLSCredentials(insecure.NewCredentials()))
		}
		return otlptracegrpc.NewClient(options...)
	}
	options := []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(SignalURL(c.Endpoint, "traces")), otlptracehttp.WithHeaders(headers),
		otlptracehttp.WithTimeout(c.Timeout.D()), otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: retryFirst, MaxInterval: retryLast, MaxElapsedTime: c.Timeout.D(),
		}),
	}
	if !encrypted(c.Endpoint) {
		options = append(options, otlptracehttp.WithTLSClientConfig(nil))
	}
	return otlptracehttp.NewClient(options...)
}

// encrypted tells whether an address is spoken to over TLS. The certificates of variables, which are for all signals, are for that.
func encrypted(endpoint string) bool { return strings.HasPrefix(strings.ToLower(endpoint), "https:") }

// TryTraces tells why the collector of traces that is configured takes none; nil where it takes an export of nothing.
func TryTraces(ctx context.Context, c *v1.Telemetry) error {
	quieten()
	client := newExporter(&c.Traces)
	if err := client.Start(ctx); err != nil {
		return err
	}
	err := client.UploadTraces(ctx, []*tracepb.ResourceSpans{about(c, "", "")})
	_ = client.Stop(ctx) // nothing is being sent
	return err
}

// plain are headers as the exporters take them.
func plain(headers map[string]v1.Secret) map[string]string {
	all := make(map[string]string, len(headers))
	for name, value := range headers {
		all[name] = string(value)
	}
	return all
}

// SignalURL is where a signal goes over HTTP: to the path that OTLP has for it, where the address has none.
func SignalURL(endpoint, signal string) string {
	if u, err := url.Parse(endpoint); err == nil && strings.Trim(u.Path, "/") == "" {
		return u.JoinPath("v1", signal).String()
	}
	return endpoint
}
