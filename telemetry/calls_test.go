package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/internal/trace"
	"github.com/toolcrib/toolcrib/telemetry"
)

// callLine is what the log says of a call.
func callLine(t testing.TB, format string, c *telemetry.Call) string {
	t.Helper()
	var out bytes.Buffer
	log := telemetry.NewLog(&out, format)
	log.Configure(&v1.Log{Level: "info"})
	log.Calls().Tell(slog.LevelInfo, c)
	log.Close()
	return out.String()
}

// TestCallLine: a line of a call has what there is to say, in the words of each format.
func TestCallLine(t *testing.T) {
	t.Parallel()
	const odd = "a\"b\\c\n\x01\xff é\u2028<>"
	at := time.Date(2026, 11, 22, 7, 5, 3, 0, time.UTC)
	full := &telemetry.Call{
		At: at, Method: "tools/call", Server: "files", Tool: odd, Prompt: "p", Principal: "0123", Tenant: "acme", Trace: trace.ID{0x4b, 0xf9}, Outcome: "ok",
		In: 190, Out: 157, Took: 1500 * time.Millisecond, Cache: "miss",
		Asked: true, Queue: 0, Start: 2 * time.Second, AtServer: 2261485, Transport: 90, Arguments: `{"a":1}`, Result: "[]",
	}
	for _, row := range []struct {
		call *telemetry.Call
		text string
		want map[string]any
	}{
		{full, `level=INFO msg=call method=tools/call server=files tool="a\"b\\c\n\x01\xff é\u2028<>" prompt=p principal=0123 tenant=acme trace=4bf90000000000000000000000000000 ` +
			`outcome=ok bytesIn=190 bytesOut=157 took=1.5s cache=miss queue=0s start=2s atServer=2.261485ms transport=90ns arguments="{\"a\":1}" result=[] component=calls`, map[string]any{
			"level": "INFO", "msg": "call", "method": "tools/call", "server": "files", "tool": "a\"b\\c\n\x01\ufffd é\u2028<>", "prompt": "p",
			"principal": "0123", "tenant": "acme", "trace": "4bf90000000000000000000000000000", "outcome": "ok", "bytesIn": 190.0, "bytesOut": 157.0, "took": 1.5, "cache": "miss",
			"queue": 0.0, "start": 2.0, "atServer": 0.002261485, "transport": 0.00000009, "arguments": `{"a":1}`, "result": "[]", "component": "calls",
		}},
		{&telemetry.Call{At: at, Method: "ping", Outcome: "denied", Took: -1}, `level=INFO msg=call method=ping outcome=denied bytesIn=0 bytesOut=0 took=-1ns component=calls`, map[string]any{
			"level": "INFO", "msg": "call", "method": "ping", "outcome": "denied", "bytesIn": 0.0, "bytesOut": 0.0, "took": 0.0, "component": "calls",
		}},
	} {
		if _, got, _ := strings.Cut(callLine(t, "text", row.call), " "); got != row.text+"\n" {
			t.Errorf("text: got\n%s, want\n%s", got, row.text)
		}
		line := callLine(t, "json", row.call)
		var got map[string]any
		if err := json.Unmarshal([]byte(line), &got); err != nil || strings.Count(line, "\n") != 1 {
			t.Fatalf("%v: %s", err, line)
		}
		delete(got, "time")
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("JSON: %s", diff)
		}
	}
}

// TestCallTime: the time of a line is written as that of any other, whatever the second, its fraction and the zone.
func TestCallTime(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 22, 7, 5, 3, 0, time.UTC)
	var out, want bytes.Buffer
	log := telemetry.NewLog(&out, "json")
	log.Configure(&v1.Log{Level: "info"})
	calls := log.Calls()
	for _, zone := range []*time.Location{time.UTC, time.FixedZone("", 5*3600+45*60), time.FixedZone("", -3600)} {
		for _, later := range []time.Duration{0, 1, 100, 120 * time.Millisecond, 999_999_999, time.Second, 1_000_000_001, time.Hour, 30 * 24 * time.Hour} {
			now := at.In(zone).Add(later)
			calls.Tell(slog.LevelInfo, &telemetry.Call{At: now})
			if err := slog.NewJSONHandler(&want, nil).Handle(t.Context(), slog.NewRecord(now, slog.LevelInfo, "call", 0)); err != nil {
				t.Fatal(err)
			}
		}
	}
	log.Close()
	is := strings.Split(out.String(), "\n")
	for i, line := range strings.Split(want.String(), "\n") {
		if at, _, _ := strings.Cut(is[i], `,"method"`); at != strings.TrimSuffix(line, "}") {
			t.Errorf("%s, want %s", at, line)
		}
	}
}

func BenchmarkCallLine(b *testing.B) {
	for _, format := range []string{"json", "text"} {
		b.Run(format, func(b *testing.B) {
			log := telemetry.NewLog(&pages{forget: true}, format)
			log.Configure(&v1.Log{Level: "info"})
			calls := log.Calls()
			c := &telemetry.Call{
				At: time.Now(), Method: "tools/call", Server: "files", Tool: "echo", Principal: "2f183a4e64493af3", Tenant: "default",
				Trace: trace.NewID(), Outcome: "ok", In: 190, Out: 157, Took: 2261485, Asked: true, AtServer: 1978708, Transport: 282777,
			}
			b.ReportAllocs()
			for b.Loop() {
				calls.Tell(slog.LevelInfo, c)
			}
			log.Close()
		})
	}
}
