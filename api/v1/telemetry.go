package v1

import (
	"errors"
	"fmt"
	"math"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Telemetry says where the gateway sends what it measures of itself. The OTEL_* variables of OpenTelemetry are understood too, and
// stand over the file.
type Telemetry struct {
	// Disabled sends nothing, whatever else is set.
	Disabled bool `json:"disabled,omitempty" default:"false" env:"OTEL_SDK_DISABLED"`
	// Service is the name that the gateway goes by, service.name.
	Service string `json:"service,omitempty" default:"toolcrib" env:"OTEL_SERVICE_NAME"`
	// Resource are further attributes of all that is sent, such as
	// deployment.environment.name. OTEL_RESOURCE_ATTRIBUTES adds to them.
	Resource map[string]string `json:"resource,omitempty"`
	// Traces are the ways that requests take.
	Traces Traces `json:"traces,omitzero"`
	// Metrics are what is counted; /metrics has them in any case.
	Metrics Metrics `json:"metrics,omitzero"`
}

// Metrics says how finely things are counted, and where the numbers go besides /metrics.
type Metrics struct {
	// Endpoint is the URL of an OpenTelemetry collector, or of another thing that takes
	// OTLP, as for traces; without one nothing is sent. Over http, /v1/metrics is added
	// where the URL has no path. OTEL_EXPORTER_OTLP_ENDPOINT stands for the same, without
	// the path.
	Endpoint string `json:"endpoint,omitempty" example:"http://127.0.0.1:4318" env:"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT"`
	// Protocol is how it is spoken to. OTEL_EXPORTER_OTLP_METRICS_PROTOCOL and
	// OTEL_EXPORTER_OTLP_PROTOCOL stand over it.
	Protocol string `json:"protocol,omitempty" default:"http" enum:"http,grpc"`
	// Headers are sent with each export. OTEL_EXPORTER_OTLP_METRICS_HEADERS and
	// OTEL_EXPORTER_OTLP_HEADERS stand in their place.
	Headers map[string]Secret `json:"headers,omitempty"`
	// Every is how often the numbers are sent.
	Every Duration `json:"every,omitzero" default:"1m" min:"1s" max:"1h"`
	// Timeout bounds each export.
	Timeout Duration `json:"timeout,omitzero" default:"10s" min:"1ms" max:"5m"`
	// Tenants counts requests by tenant.
	Tenants bool `json:"tenants" default:"true"`
	// MaxTenants is how many pairs of tenant and outcome are told apart; later ones
	// are counted together.
	MaxTenants int `json:"maxTenants,omitempty" default:"2000" min:"1" max:"100000"`
	// MaxTools is how many tools of each server are told apart.
	MaxTools int `json:"maxTools,omitempty" default:"2000" min:"1" max:"100000"`
	// MaxClients is how many names of client programs are told apart.
	MaxClients int `json:"maxClients,omitempty" default:"50" min:"1" max:"10000"`
}

// Sent tells whether metrics are sent by OTLP.
func (t *Telemetry) Sent() bool { return !t.Disabled && t.Metrics.Endpoint != "" }

// Traces says which requests are traced, and where the traces go.
type Traces struct {
	// Endpoint is the URL of an OpenTelemetry collector, or of another thing that takes
	// OTLP; without one there are no traces. Over http, /v1/traces is added where the
	// URL has no path. Over grpc it has none. With headers it must be https, but for a
	// loopback address. OTEL_EXPORTER_OTLP_ENDPOINT stands for the same, without the
	// path.
	Endpoint string `json:"endpoint,omitempty" example:"http://127.0.0.1:4318" env:"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"`
	// Protocol is how it is spoken to. OTEL_EXPORTER_OTLP_TRACES_PROTOCOL and
	// OTEL_EXPORTER_OTLP_PROTOCOL stand over it.
	Protocol string `json:"protocol,omitempty" default:"http" enum:"http,grpc"`
	// Headers are sent with each export. OTEL_EXPORTER_OTLP_TRACES_HEADERS and
	// OTEL_EXPORTER_OTLP_HEADERS stand in their place.
	Headers map[string]Secret `json:"headers,omitempty"`
	// Timeout bounds each export.
	Timeout Duration `json:"timeout,omitzero" default:"10s" min:"1ms" max:"5m"`
	// Queue is how many spans may wait to be exported. What does not fit is dropped
	// and counted.
	Queue int `json:"queue,omitempty" default:"4096" min:"1" max:"1000000" env:"OTEL_BSP_MAX_QUEUE_SIZE"`
	// Sample is the share of requests that are traced, from 0 to 1. OTEL_TRACES_SAMPLER
	// and OTEL_TRACES_SAMPLER_ARG stand over it.
	Sample Ratio `json:"sample" default:"0.01" min:"0" max:"1"`
	// Parent says whose decision counts where a client has decided whether its
	// request is traced: follow takes the client's, own goes by sample alone. The trace
	// is the client's either way.
	Parent string `json:"parent,omitempty" default:"follow" enum:"follow,own"`
	// Slow is how long a request takes that is traced in any case, as are those that
	// failed.
	Slow Duration `json:"slow,omitzero" default:"2s" min:"1ms" max:"1d"`
	// Kept is how many requests a second are traced because they failed or were slow,
	// at most; 0 traces none for that.
	Kept int `json:"kept" default:"100" min:"0" max:"100000"`
	// Baggage hands the client's header baggage on to servers.
	Baggage bool `json:"baggage,omitempty" default:"false"`
}

// On tells whether there are traces.
func (t *Telemetry) On() bool { return !t.Disabled && t.Traces.Endpoint != "" }

// Ratio is a share of all, in millionths.
type Ratio int64

// whole is the ratio of all.
const whole = 1_000_000

// Of is the ratio as a number from 0 to 1.
func (r Ratio) Of() float64 { return float64(r) / whole }

// String returns the ratio as a number: "0.01".
func (r Ratio) String() string { return strconv.FormatFloat(r.Of(), 'f', -1, 64) }

// MarshalText writes r as String does.
func (r Ratio) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads "0.01" or "1%".
func (r *Ratio) UnmarshalText(text []byte) error {
	number, percent := strings.CutSuffix(string(text), "%")
	f, err := strconv.ParseFloat(number, 64)
	if percent {
		f /= 100
	}
	if err != nil || math.IsNaN(f) || math.Abs(f) > 1e6 {
		return errors.New(`is not a share; write "0.01" or "1%"`)
	}
	*r = Ratio(math.Round(f * whole))
	return nil
}

// UnmarshalJSON reads a string or a plain number.
func (r *Ratio) UnmarshalJSON(data []byte) error {
	return r.UnmarshalText([]byte(strings.Trim(string(data), `"`)))
}

// The values of Traces.Protocol and Traces.Parent.
const (
	ProtocolHTTP = "http"
	ProtocolGRPC = "grpc"
	ParentFollow = "follow"
	ParentOwn    = "own"
)

// The variables of OpenTelemetry that are no key by themselves.
const (
	envEndpoint    = "OTEL_EXPORTER_OTLP_ENDPOINT"
	envSampler     = "OTEL_TRACES_SAMPLER"
	envSamplerArg  = "OTEL_TRACES_SAMPLER_ARG"
	envResource    = "OTEL_RESOURCE_ATTRIBUTES"
	tracesKey      = "telemetry.traces"
	resourceMost   = 64
	attributeMost  = 1024
	signalPathHTTP = "/v1/"
)

// env is the value of the first of the variables that has one, and its name.
func (d *decoder) env(names ...string) (value, name string) {
	for _, name := range names {
		if value, _ := d.opts.Env(name); value != "" {
			return value, name
		}
	}
	return "", ""
}

// openTelemetry applies the OTEL_* variables that override cannot.
func (d *decoder) openTelemetry(t *Telemetry) {
	if v, name := d.env(envResource); name != "" {
		given := d.pairs(v, name)
		for k, value := range t.Resource {
			if _, there := given[k]; !there {
				given[k] = value
			}
		}
		t.Resource = given
	}
	m, tr := &t.Metrics, &t.Traces
	d.export("metrics", &export{&m.Endpoint, &m.Protocol, &m.Headers, &m.Timeout})
	d.millis(&m.Every, "telemetry.metrics.every", "OTEL_METRIC_EXPORT_INTERVAL")
	d.export("traces", &export{&tr.Endpoint, &tr.Protocol, &tr.Headers, &tr.Timeout})
	d.sampler(tr)
	if !t.Disabled {
		d.trust("metrics", m.Endpoint)
		d.trust("traces", tr.Endpoint)
	}
	d.unsupported(tr)
}

// unsupported tells of what other variables ask for and is not done here.
func (d *decoder) unsupported(tr *Traces) {
	for _, signal := range []string{"", "METRICS_", "TRACES_"} {
		d.oneOf(otlpVariable+signal+"COMPRESSION", "compression", "gzip", "none")
	}
	d.oneOf("OTEL_LOGS_EXPORTER", "exporter of logs", "otlp", "none")
	if v, name := d.env("OTEL_PROPAGATORS"); name != "" {
		for each := range strings.SplitSeq(v, ",") {
			if each = strings.TrimSpace(each); each != "tracecontext" && (each != "baggage" || !tr.Baggage) {
				d.warnOnce(name, fmt.Sprintf("%q has no effect: tracecontext is handed on in any case, baggage with telemetry.traces.baggage, nothing else", clip(v)))
			}
		}
	}
}

// oneOf warns of a variable that has none of the values that there are.
func (d *decoder) oneOf(name, what string, values ...string) {
	if v, _ := d.env(name); v != "" && !slices.Contains(values, v) {
		d.warnOnce(name, fmt.Sprintf("%q is no %s that there is here (%s) and has no effect", clip(v), what, strings.Join(values, ", ")))
	}
}

// exporters says of a signal how it is had without one.
var exporters = map[string]string{"metrics": ", which are at /metrics in any case,"}

// export is where a signal goes.
type export struct {
	endpoint, protocol *string
	headers            *map[string]Secret
	timeout            *Duration
}

// export applies what the variables say of a signal, and of all where they say nothing of it.
func (d *decoder) export(signal string, to *export) {
	key, own := "telemetry."+signal, otlpVariable+strings.ToUpper(signal)
	if v, name := d.env(own+"_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"); name != "" {
		*to.protocol = d.protocol(v, name)
	}
	if v, name := d.env(envEndpoint); name != "" && d.origins[key+".endpoint"] == "" {
		d.origins[key+".endpoint"] = name
		if *to.endpoint = v; *to.protocol == ProtocolHTTP {
			*to.endpoint = strings.TrimSuffix(v, "/") + signalPathHTTP + signal
		}
	}
	if v, name := d.env(own+"_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"); name != "" {
		d.origins[key+".headers"] = name
		*to.headers = map[string]Secret{}
		for k, value := range d.pairs(v, name) {
			(*to.headers)[k] = Secret(value)
		}
	}
	d.millis(to.timeout, key+".timeout", own+"_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
	by := "OTEL_" + strings.ToUpper(signal) + "_EXPORTER"
	if v, _ := d.env(by); v == "none" {
		*to.endpoint = ""
	}
	d.oneOf(by, "exporter of "+signal+exporters[signal], "otlp", "none")
}

// millis reads a number of milliseconds, which the variables of OpenTelemetry are.
func (d *decoder) millis(to *Duration, key string, names ...string) {
	v, name := d.env(names...)
	if name == "" {
		return
	}
	ms, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		d.warnOnce(name, fmt.Sprintf("%q is not a whole number of milliseconds, as 10000 is, and has no effect", clip(v)))
		return
	}
	d.origins[key] = name
	*to = Duration(time.Duration(ms) * time.Millisecond)
}

func (d *decoder) protocol(value, name string) string {
	switch value {
	case "grpc":
		return ProtocolGRPC
	case "http/protobuf":
	default:
		d.warnOnce(name, fmt.Sprintf("%q is no protocol that is spoken here (grpc, http/protobuf); http/protobuf is", clip(value)))
	}
	return ProtocolHTTP
}

// sampler applies OTEL_TRACES_SAMPLER.
func (d *decoder) sampler(tr *Traces) {
	v, _ := d.env(envSampler)
	if v == "" {
		return
	}
	kind, parent := strings.CutPrefix(v, "parentbased_")
	switch kind {
	case "always_on":
		tr.Sample = whole
	case "always_off":
		tr.Sample = 0
	case "traceidratio":
		tr.Sample = whole
		if arg, _ := d.env(envSamplerArg); arg != "" {
			d.origins[tracesKey+".sample"] = envSamplerArg
			if err := tr.Sample.UnmarshalText([]byte(arg)); err != nil {
				d.fail(0, tracesKey+".sample", "%q %v (set by %s)", clip(arg), err, envSamplerArg)
			}
		}
	default:
		d.warn(0, envSampler, fmt.Sprintf("%q is no sampler that there is here (always_on, always_off, traceidratio, each also after parentbased_)"+
			" and has no effect", clip(v)))
		return
	}
	tr.Parent = ParentOwn
	if parent {
		tr.Parent = ParentFollow
	}
}

// pairs reads name=value,name=value with values encoded as in URLs.
func (d *decoder) pairs(text, name string) map[string]string {
	all := map[string]string{}
	for pair := range strings.SplitSeq(text, ",") {
		k, v, ok := strings.Cut(pair, "=")
		value, err := url.PathUnescape(strings.TrimSpace(v))
		if k = strings.TrimSpace(k); ok && k != "" && err == nil {
			all[k] = value
		} else if strings.TrimSpace(pair) != "" {
			d.warnOnce(name, "has an entry that is not name=value, which has no effect")
		}
	}
	return all
}

// telemetry checks where things are sent. No message shows a value: it may hold a secret.
func (k *checker) telemetry(t *Telemetry) {
	k.label("telemetry.service", t.Service)
	if len(t.Resource) > resourceMost {
		k.fail("telemetry.resource", "has %d attributes; at most %d are allowed", len(t.Resource), resourceMost)
	}
	for name, value := range t.Resource {
		if name == "" || !printable(name) || !printable(value) || max(len(name), len(value)) > attributeMost {
			k.fail("telemetry.resource", "has an attribute that is empty, not printable or longer than %d bytes", attributeMost)
		}
	}
	k.otlp(tracesKey, t.Traces.Endpoint, t.Traces.Protocol, t.Traces.Headers)
	k.otlp("telemetry.metrics", t.Metrics.Endpoint, t.Metrics.Protocol, t.Metrics.Headers)
}

// otlp checks the address of something that takes OTLP.
func (k *checker) otlp(path, endpoint, protocol string, headers map[string]Secret) {
	for name, value := range headers {
		if name = strings.ToLower(name); slices.Contains([]string{"content-type", "content-length", "host"}, name) {
			k.fail(path+".headers", "must not have %s, which follows from the protocol; remove it", name)
			continue
		}
		k.header(path+".headers", name, string(value))
	}
	if endpoint == "" {
		return
	}
	u := k.httpURL(path+".endpoint", endpoint)
	switch {
	case u == nil:
	case u.RawQuery != "" || u.ForceQuery:
		k.fail(path+".endpoint", "has a query; send credentials under headers instead")
	case protocol == ProtocolGRPC && strings.Trim(u.Path, "/") != "":
		k.fail(path+".endpoint", "has a path, which grpc has not; remove it, or set protocol to http")
	case len(headers) > 0 && u.Scheme != "https" && !LoopbackHost(u.Hostname()):
		k.fail(path+".endpoint", "is not https; only a loopback address, or one without headers, may do without")
	}
}
