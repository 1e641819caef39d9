package trace_test

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/propagation"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/toolcrib/toolcrib/internal/trace"
)

const sample = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestParse(t *testing.T) {
	c, ok := trace.Parse(sample)
	if !ok || !c.Sampled || c.Trace.String() != "0af7651916cd43dd8448eb211c80319c" || string(c.AppendParent(nil)) != sample {
		t.Errorf("%v %v", c, ok)
	}
	for name, parent := range map[string]string{
		"nothing":              "",
		"short":                sample[:54],
		"long, version 00":     sample + "-x",
		"capitals":             strings.ToUpper(sample),
		"version ff":           "ff" + sample[2:],
		"no digits":            strings.Replace(sample, "0af", "0ag", 1),
		"no trace":             "00-00000000000000000000000000000000-b7ad6b7169203331-01",
		"no span":              "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
		"other separators":     strings.ReplaceAll(sample, "-", "_"),
		"a later one, glued":   "01" + sample[2:] + "x",
		"a later one, endless": "01" + sample[2:] + "-" + strings.Repeat("x", 300),
	} {
		if c, ok := trace.Parse(parent); ok || c != (trace.Context{}) {
			t.Errorf("%s: %v", name, c)
		}
	}
	if _, ok := trace.Parse("cc" + sample[2:] + "-what-comes"); !ok {
		t.Error("a later version is not read")
	}
}

// FuzzParse has a traceparent read as OpenTelemetry reads it.
func FuzzParse(f *testing.F) {
	for _, s := range []string{sample, sample[:53] + "00", "01" + sample[2:] + "-x", "ff" + sample[2:], "", strings.ToUpper(sample)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, parent string) {
		c, ok := trace.Parse(parent)
		of := oteltrace.SpanContextFromContext(propagation.TraceContext{}.Extract(context.Background(), propagation.HeaderCarrier(http.Header{"Traceparent": {parent}})))
		if ok && parent[53:55] > "03" {
			return // whose flags it wants to know all
		}
		if ok && (!of.IsValid() || [16]byte(of.TraceID()) != c.Trace || [8]byte(of.SpanID()) != c.Span || of.IsSampled() != c.Sampled) {
			t.Errorf("%q: %+v, OpenTelemetry reads %+v", parent, c, of)
		}
		if !ok && of.IsValid() && len(parent) <= 256 && parent[:2] == "00" {
			t.Errorf("%q is not read, but OpenTelemetry reads %+v", parent, of)
		}
		if ok {
			if again, ok := trace.Parse(c.AppendParent(nil)); !ok || again.Trace != c.Trace || again.Span != c.Span {
				t.Errorf("%q does not come back: %+v", parent, again)
			}
		}
	})
}
