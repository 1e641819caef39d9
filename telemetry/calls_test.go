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
	full := &telemetry.Call{
		Method: "tools/call", Server: "files", Tool: odd, Prompt: "p", Principal: "0123", Tenant: "acme", Trace: "4bf9", Outcome: "ok",
		In: 190, Out: 157, Took: 1500 * time.Millisecond, Cache: "miss",
		Asked: true, Queue: 0, Start: 2 * time.Second, AtServer: 2261485, Transport: 90, Arguments: `{"a":1}`, Result: "[]",
	}
	for _, row := range []struct {
		call *telemetry.Call
		text string
		want map[string]any
	}{
		{full, `level=INFO msg=call method=tools/call server=files tool="a\"b\\c\n\x01\xff é\u2028<>" prompt=p principal=0123 tenant=acme trace=4bf9 ` +
			`outcome=ok bytesIn=190 bytesOut=157 took=1.5s cache=miss queue=0s start=2s atServer=2.261485ms transport=90ns arguments="{\"a\":1}" result=[] component=calls`, map[string]any{
			"level": "INFO", "msg": "call", "method": "tools/call", "server": "files", "tool": "a\"b\\c\n\x01\ufffd é\u2028<>", "prompt": "p",
			"principal": "0123", "tenant": "acme", "trace": "4bf9", "outcome": "ok", "bytesIn": 190.0, "bytesOut": 157.0, "took": 1.5, "cache": "miss",
			"queue": 0.0, "start": 2.0, "atServer": 0.002261485, "transport": 0.00000009, "arguments": `{"a":1}`, "result": "[]", "component": "calls",
		}},
		{&telemetry.Call{Method: "ping", Outcome: "denied", Took: -1}, `level=INFO msg=call method=ping outcome=denied bytesIn=0 bytesOut=0 took=-1ns component=calls`, map[string]any{
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
		if at, err := time.Parse(time.RFC3339Nano, got["time"].(string)); err != nil || time.Since(at) > time.Hour { //nolint:forcetypeassert // fails too
			t.Errorf("time %v: %v", got["time"], err)
		}
		delete(got, "time")
		if diff := cmp.Diff(row.want, got); diff != "" {
			t.Errorf("JSON: %s", diff)
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
				Method: "tools/call", Server: "files", Tool: "echo", Principal: "2f183a4e64493af3", Tenant: "default",
				Trace: "4bf92f3577b34da6a3ce929d0e0e4736", Outcome: "ok", In: 190, Out: 157, Took: 2261485, Asked: true, AtServer: 1978708, Transport: 282777,
			}
			b.ReportAllocs()
			for b.Loop() {
				calls.Tell(slog.LevelInfo, c)
			}
			log.Close()
		})
	}
}
