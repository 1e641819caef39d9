package telemetry

import (
	"math"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/toolcrib/toolcrib/internal/trace"
)

// spanWriter writes spans as OTLP has them (opentelemetry/proto/trace/v1/trace.proto), with what it has room for already. Spans of
// the SDK cost ten times as much: each is built, copied, translated and only then written.
type spanWriter struct {
	out  []byte // spans that are whole, each as a field of a ScopeSpans
	span []byte // the one being written
	part []byte // a message in it
	list []attribute.KeyValue
}

// Numbers of fields.
const (
	scopeSpans = 2

	spanTrace      = 1
	spanID         = 2
	spanState      = 3
	spanParent     = 4
	spanNameOf     = 5
	spanKind       = 6
	spanStart      = 7
	spanEnd        = 8
	spanAttribute  = 9
	spanEvent      = 11
	spanLink       = 13
	spanStatus     = 15
	spanFlags      = 16
	eventTime      = 1
	eventName      = 2
	linkTrace      = 1
	linkSpan       = 2
	linkFlags      = 6
	statusMessage  = 2
	statusCode     = 3
	attributeKey   = 1
	attributeValue = 2
	valueText      = 1
	valueFlag      = 2
	valueInt       = 3
	valueDouble    = 4
)

// Values of enumerations and flags.
const (
	kindInternal = 1
	kindServer   = 2
	kindClient   = 3
	statusError  = 2

	flagSampled     = 0x1
	flagKnowsRemote = 0x100
	flagRemote      = 0x200
)

// begin begins a span; remote says that its parent is in another process.
func (w *spanWriter) begin(of trace.Context, id, parent trace.SpanID, remote bool) {
	b := appendBytes(w.span[:0], spanTrace, of.Trace[:])
	b = appendBytes(b, spanID, id[:])
	if of.State != "" {
		b = appendText(b, spanState, of.State)
	}
	flags := uint32(flagSampled | flagKnowsRemote)
	if parent != (trace.SpanID{}) {
		b = appendBytes(b, spanParent, parent[:])
		if remote {
			flags |= flagRemote
		}
	}
	w.span = protowire.AppendFixed32(protowire.AppendTag(b, spanFlags, protowire.Fixed32Type), flags)
}

// about says what a span is of, with the attributes of the list.
func (w *spanWriter) about(name string, kind uint64, start, end time.Time) {
	b := appendText(w.span, spanNameOf, name)
	b = protowire.AppendVarint(protowire.AppendTag(b, spanKind, protowire.VarintType), kind)
	b = appendTime(appendTime(b, spanStart, start), spanEnd, end)
	for i := range w.list {
		w.part = appendAttribute(w.part[:0], &w.list[i])
		b = appendBytes(b, spanAttribute, w.part)
	}
	w.span = b
}

func (w *spanWriter) event(name string, at time.Time) {
	w.part = appendText(appendTime(w.part[:0], eventTime, at), eventName, name)
	w.span = appendBytes(w.span, spanEvent, w.part)
}

// link adds a link; remote says that it leads to another process.
func (w *spanWriter) link(to trace.Context, remote bool) {
	b := appendBytes(appendBytes(w.part[:0], linkTrace, to.Trace[:]), linkSpan, to.Span[:])
	flags := uint32(flagKnowsRemote)
	if remote {
		flags |= flagRemote
	}
	if to.Sampled {
		flags |= flagSampled
	}
	w.part = protowire.AppendFixed32(protowire.AppendTag(b, linkFlags, protowire.Fixed32Type), flags)
	w.span = appendBytes(w.span, spanLink, w.part)
}

// end ends a span.
func (w *spanWriter) end(failed bool, message string) {
	if failed {
		b := w.part[:0]
		if message != "" {
			b = appendText(b, statusMessage, clean(message))
		}
		w.part = protowire.AppendVarint(protowire.AppendTag(b, statusCode, protowire.VarintType), statusError)
		w.span = appendBytes(w.span, spanStatus, w.part)
	}
	w.out = appendBytes(w.out, scopeSpans, w.span)
}

func appendAttribute(b []byte, a *attribute.KeyValue) []byte {
	b = appendText(b, attributeKey, string(a.Key))
	var room [binaryMost]byte
	value := room[:0]
	switch a.Value.Type() {
	case attribute.BOOL:
		value = protowire.AppendVarint(protowire.AppendTag(value, valueFlag, protowire.VarintType), protowire.EncodeBool(a.Value.AsBool()))
	case attribute.INT64:
		value = protowire.AppendVarint(protowire.AppendTag(value, valueInt, protowire.VarintType), uint64(a.Value.AsInt64()))
	case attribute.FLOAT64:
		value = protowire.AppendFixed64(protowire.AppendTag(value, valueDouble, protowire.Fixed64Type), math.Float64bits(a.Value.AsFloat64()))
	default:
		text := strings.ToValidUTF8(a.Value.AsString(), "\uFFFD")
		b = protowire.AppendTag(b, attributeValue, protowire.BytesType)
		b = protowire.AppendVarint(b, uint64(protowire.SizeTag(valueText)+protowire.SizeBytes(len(text))))
		return appendText(b, valueText, text)
	}
	return appendBytes(b, attributeValue, value)
}

// binaryMost is how long a value is that is no text.
const binaryMost = 16

func appendBytes(b []byte, field protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), v)
}

// appendText appends a text, which must be UTF-8: a collector refuses all that goes with one that is not.
func appendText(b []byte, field protowire.Number, v string) []byte {
	return protowire.AppendString(protowire.AppendTag(b, field, protowire.BytesType), strings.ToValidUTF8(v, "\uFFFD"))
}

func appendTime(b []byte, field protowire.Number, at time.Time) []byte {
	return protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), uint64(at.UnixNano()))
}
