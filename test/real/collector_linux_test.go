package real_test

import (
	"bytes"
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"testing"
)

// collectorBinary builds what takes logs with the receiver of the OpenTelemetry Collector.
var collectorBinary = buildApart("collector", "1", ".", "main.go")

// collected is a record as the collector has it.
type collected struct {
	Refused    int // records that it did not take at first
	Service    map[string]string
	Event      string
	Severity   string
	Time       int64
	Body       string
	Attributes map[string]any
}

func (c *collected) text(attribute string) string {
	s, _ := c.Attributes[attribute].(string)
	return s
}

// collection reads what the collector has got, in the order in which it came first, and how often it refused.
func collection(t *testing.T, path string) (all []collected, refusals int) {
	t.Helper()
	seen := map[string]bool{}
	for _, line := range wholeLines(t, path) {
		var c collected
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		switch {
		case c.Refused > 0:
			refusals++
		case !seen[c.Body]: // what was under way when the collector was killed may come again
			seen[c.Body] = true
			all = append(all, c)
		}
	}
	return all, refusals
}

// wholeLines are the lines of a file that have an end; none where there is no file yet.
func wholeLines(t *testing.T, path string) (all [][]byte) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		if whole, ok := bytes.CutSuffix(line, []byte{'\n'}); ok {
			all = append(all, whole)
		}
	}
	return all
}

// TestCollector: an OpenTelemetry collector gets the audit log, whole and in order, although it was away when the gateway started,
// refuses requests now and then, and is killed and started again in between.
func TestCollector(t *testing.T) {
	t.Parallel()
	binary, err := collectorBinary()
	if err != nil {
		t.Fatalf("the collector that this test needs is not there: %v", err)
	}
	program, err := gatewayBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir, addr := t.TempDir(), freeAddr(t)
	log, records := filepath.Join(dir, "audit.jsonl"), filepath.Join(dir, "records.jsonl")
	base, _ := startWith(t, map[string]any{
		"mcpServers": map[string]server{"example": {Command: program, Args: []string{"example"}}},
		"audit": map[string]any{"sinks": []any{
			map[string]any{"file": log}, map[string]any{"otlp": "http://" + addr + "/v1/logs", "timeout": "5s"},
		}},
	})
	calls := make([]step, 30)
	for i := range calls {
		calls[i] = call("example__echo", map[string]any{"message": strconv.Itoa(i)})
	}
	drive := func() { driveGo(t, nil, target{URL: base + "/mcp"}, "modern", calls) }
	arrived := func() bool {
		all, _ := collection(t, records)
		return len(all) == len(wholeLines(t, log))
	}
	drive()
	first := start(t, binary, addr, records)
	drive()
	waitUntil(t, "what was recorded while the collector was away", runTimeout, arrived)
	if err := first.Kill(); err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the collector is gone", stopTimeout, func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			_ = c.Close()
		}
		return err != nil
	})
	drive()
	start(t, binary, addr, records)
	waitUntil(t, "what was recorded while the collector was killed", runTimeout, arrived)

	all, refusals := collection(t, records)
	if refusals == 0 {
		t.Error("the collector never refused")
	}
	sameRecords(t, wholeLines(t, log), all, 3*len(calls))
}

// sameRecords holds what the collector has against the log, which has so many calls.
func sameRecords(t *testing.T, log [][]byte, all []collected, calls int) {
	t.Helper()
	for i, c := range all {
		if c.Body != string(log[i]) {
			t.Fatalf("record %d of the collector is %s, not line %d of the log: %s", i+1, c.Body, i+1, log[i])
		}
		if c.Attributes["toolcrib.audit.sequence"] != float64(i+1) || c.text("toolcrib.audit.log") != all[0].text("toolcrib.audit.log") ||
			c.Service["service.name"] != "toolcrib" || c.Event != "toolcrib.audit" || c.Severity != "INFO" || c.Time == 0 {
			t.Errorf("record %d: %+v", i+1, c)
		}
		if c.text("toolcrib.operation") == "tools/call" && c.text("toolcrib.server") == "example" && c.text("toolcrib.target") == "echo" &&
			c.text("toolcrib.outcome") == "ok" {
			calls--
		}
	}
	if calls != 0 {
		t.Errorf("%d calls more than the collector has", calls)
	}
}
