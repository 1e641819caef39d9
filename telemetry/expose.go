package telemetry

import (
	"bytes"
	"cmp"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
)

const (
	maxScrapes    = 4 // at once
	scrapeTimeout = 10 * time.Second
	textPiece     = 256 << 10
)

// Handler serves the metrics in the Prometheus exposition formats.
//
// Nearly all series are those of tools. As text they are written here, straight from their handles: the library sorts, checks
// and formats each line anew, which takes ten times as long. Such an answer is not compressed, which would take longer still.
func (m *Metrics) Handler() http.Handler {
	library := promhttp.HandlerFor(m.gatherer(), promhttp.HandlerOpts{MaxRequestsInFlight: maxScrapes, Timeout: scrapeTimeout})
	turns := make(chan struct{}, maxScrapes)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		format := expfmt.NegotiateAccept(r.Header, expfmt.DefaultAcceptedFormats()...)
		if format.FormatType() != expfmt.TypeTextPlain {
			library.ServeHTTP(w, r)
			return
		}
		select {
		case turns <- struct{}{}:
			defer func() { <-turns }()
		default:
			http.Error(w, "others are scraping already; try again later", http.StatusServiceUnavailable)
			return
		}
		m.writeText(w, format)
	})
}

// gatherer has all metrics.
func (m *Metrics) gatherer() prometheus.Gatherer { return prometheus.Gatherers{m.registry, m.perTool} }

func (m *Metrics) writeText(w http.ResponseWriter, format expfmt.Format) {
	families, err := m.registry.Gather()
	if err != nil {
		http.Error(w, "metrics cannot be read: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", string(format))
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(scrapeTimeout)) // a recorder of tests has none
	var text bytes.Buffer
	encoder := expfmt.NewEncoder(&text, format)
	for _, f := range families {
		_ = encoder.Encode(f) // to memory
	}
	out := &toolText{to: w, text: text.Bytes()}
	all := m.called()
	out.counters("mcp_tool_requests_total", all.requests)
	out.counters("mcp_tool_errors_total", all.errors)
	out.histograms("mcp_tool_duration_seconds", all.durations)
	out.histograms("mcp_call_share_seconds", all.shares)
	out.histograms("mcp_tool_request_size_bytes", all.requestSizes)
	out.histograms("mcp_tool_response_size_bytes", all.responseSizes)
	out.flush()
}

// toolSet are the series of all tools that were called.
type toolSet struct{ requests, errors, durations, shares, requestSizes, responseSizes []exposed }

// exposed is a series with its labels as they are in the text.
type exposed struct {
	labels string
	metric prometheus.Metric
}

// escaper makes a label's value what it is in the text format.
var escaper = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

// called are the series of all tools that were called, by server and name.
func (m *Metrics) called() *toolSet {
	m.mu.Lock()
	servers := slices.SortedFunc(maps.Values(m.servers), func(a, b *server) int { return cmp.Compare(a.name, b.name) })
	m.mu.Unlock()
	all := &toolSet{}
	for _, s := range servers {
		s.called(all)
	}
	slices.SortFunc(all.errors, func(a, b exposed) int { return cmp.Compare(a.labels, b.labels) })
	return all
}

func (s *server) called(all *toolSet) {
	s.mu.Lock()
	tools := slices.SortedFunc(maps.Values(s.tools), func(a, b *Tool) int { return cmp.Compare(a.name, b.name) })
	s.mu.Unlock()
	of := `server="` + escaper.Replace(s.name) + `"`
	for _, t := range tools {
		series := t.series.Load()
		if series == nil {
			continue
		}
		labels := of + `,tool="` + escaper.Replace(t.name) + `"`
		all.requests = append(all.requests, exposed{labels, series.requests})
		all.durations = append(all.durations, exposed{labels, series.duration})
		for kind := range series.errors.keys() {
			n, _ := series.errors.get(kind)
			all.errors = append(all.errors, exposed{`error_type="` + escaper.Replace(kind) + `",` + labels, n})
		}
	}
	if own := s.shares.Load(); own != nil {
		all.shares = append(all.shares,
			exposed{of + `,share="queue"`, own.queue}, exposed{of + `,share="server"`, own.server},
			exposed{of + `,share="start"`, own.start}, exposed{of + `,share="transport"`, own.transport})
		all.requestSizes = append(all.requestSizes, exposed{of, own.in})
		all.responseSizes = append(all.responseSizes, exposed{of, own.out})
	}
}

// toolText writes series as text, in pieces.
type toolText struct {
	to   http.ResponseWriter
	text []byte
	err  error // once the reader is gone
}

func (o *toolText) head(name, kind string) {
	o.text = append(o.text, "# HELP "+name+" "+entry(name, "").Help+"\n# TYPE "+name+" "+kind+"\n"...)
}

func (o *toolText) counters(name string, all []exposed) {
	if len(all) == 0 {
		return
	}
	o.head(name, "counter")
	var value dto.Metric
	for i := range all {
		if all[i].metric.Write(&value) == nil {
			o.text = append(append(append(append(o.text, name...), '{'), all[i].labels...), "} "...)
			o.text = append(strconv.AppendFloat(o.text, value.GetCounter().GetValue(), 'g', -1, 64), '\n')
			o.pass()
		}
	}
}

// rendered is how many histograms one processor writes at a time.
const rendered = 128

// histograms writes those of all tools; reading them is most of a scrape, so that all processors do.
func (o *toolText) histograms(name string, all []exposed) {
	if len(all) == 0 {
		return
	}
	o.head(name, "histogram")
	bounds := bucketLabels(entry(name, Histogram).Buckets)
	parts := make([][]byte, runtime.GOMAXPROCS(0))
	for len(all) > 0 && o.err == nil {
		var together sync.WaitGroup
		for i := range parts {
			some := all[:min(rendered, len(all))]
			all = all[len(some):]
			together.Go(func() { parts[i] = appendHistograms(parts[i][:0], name, some, bounds) })
		}
		together.Wait()
		for _, text := range parts {
			o.text = append(o.text, text...)
		}
		o.pass()
	}
}

func appendHistograms(text []byte, name string, some []exposed, bounds []string) []byte {
	for i := range some {
		var value dto.Metric
		if some[i].metric.Write(&value) == nil {
			text = appendHistogram(text, name, some[i].labels, bounds, value.GetHistogram())
		}
	}
	return text
}

// bucketLabels are the upper bounds of buckets as labels, the infinite one last.
func bucketLabels(bounds []float64) []string {
	all := make([]string, 0, len(bounds)+1)
	for _, b := range bounds {
		all = append(all, `,le="`+strconv.FormatFloat(b, 'g', -1, 64)+`"} `)
	}
	return append(all, `,le="+Inf"} `)
}

func appendHistogram(text []byte, name, labels string, bounds []string, h *dto.Histogram) []byte {
	count := h.GetSampleCount()
	for i, b := range bounds {
		n := count
		if i < len(h.GetBucket()) {
			n = h.GetBucket()[i].GetCumulativeCount()
		}
		text = append(append(append(append(text, name...), "_bucket{"...), labels...), b...)
		text = append(strconv.AppendUint(text, n, 10), '\n')
	}
	text = append(append(append(append(text, name...), "_sum{"...), labels...), "} "...)
	text = append(strconv.AppendFloat(text, h.GetSampleSum(), 'g', -1, 64), '\n')
	text = append(append(append(append(text, name...), "_count{"...), labels...), "} "...)
	return append(strconv.AppendUint(text, count, 10), '\n')
}

// pass hands on what has come together, once it is a piece.
func (o *toolText) pass() {
	if len(o.text) >= textPiece {
		o.flush()
	}
}

func (o *toolText) flush() {
	if o.err == nil {
		_, o.err = o.to.Write(o.text)
	}
	o.text = o.text[:0]
}
