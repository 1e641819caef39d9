package evidence_test

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/toolcrib/toolcrib/internal/evidence"
)

func TestRecord(t *testing.T) {
	dir := t.TempDir()
	if _, err := evidence.Read(dir, evidence.LoadTest); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a record: %v", err)
	}
	want := evidence.Record{At: time.Date(2026, 11, 1, 9, 0, 0, 0, time.UTC), By: "toolcrib bench", Result: "900 calls/s"}
	for range 2 { // the second replaces the first
		if err := evidence.Write(dir, evidence.LoadTest, want); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := evidence.Read(dir, evidence.LoadTest); err != nil || got != want {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
	for _, text := range []string{"", "{}", `{"at":"never"}`} {
		if err := os.WriteFile(evidence.Path(dir, evidence.Rotation), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := evidence.Read(dir, evidence.Rotation); err == nil || !strings.Contains(err.Error(), "rotation.json is no record") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestWell: it went well where the first word says so, large or small, and nowhere else.
func TestWell(t *testing.T) {
	for result, want := range map[string]struct{ well, judges bool }{
		"pass: 900 calls/s": {true, true}, "Passed": {true, true}, " OK, no call failed": {true, true},
		"fail: p99 2s": {false, true}, "Failed: 3 calls lost": {false, true}, " FAIL": {false, true}, "Inconclusive": {false, true},
		"Redis killed, no call failed": {}, "no objective: open loop": {}, "aborted: half of the calls lost": {}, "passing strange": {}, "": {},
	} {
		if r := (evidence.Record{Result: result}); r.Well() != want.well || evidence.Judges(result) != want.judges {
			t.Errorf("%q: well %t, judges %t", result, r.Well(), evidence.Judges(result))
		}
	}
}
