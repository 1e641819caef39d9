package telemetry_test

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/telemetry"
)

func TestLoggerJSON(t *testing.T) {
	var out bytes.Buffer
	telemetry.NewLogger(&out, new(slog.LevelVar), "json").Info("started", "server", "files")
	var line struct{ Level, Msg, Server string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Level != "INFO" || line.Msg != "started" || line.Server != "files" {
		t.Errorf("got %s: %v", out.Bytes(), err)
	}
}

func TestLoggerLevel(t *testing.T) {
	var out bytes.Buffer
	level := new(slog.LevelVar)
	log := telemetry.NewLogger(&out, level, "text")
	log.Debug("quiet")
	level.Set(slog.LevelDebug)
	log.Debug("loud")
	if got := out.String(); strings.Contains(got, "quiet") || !strings.Contains(got, "level=DEBUG msg=loud") {
		t.Errorf("got %s", got)
	}
}
