package telemetry_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/telemetry"
)

func TestLogJSON(t *testing.T) {
	var out bytes.Buffer
	telemetry.NewLog(&out, "json").Logger().With("server", "files", "component", "upstream").Info("started", "took", 1500*time.Millisecond)
	var line struct {
		Level, Msg, Server, Component string
		Took                          float64
	}
	err := json.Unmarshal(out.Bytes(), &line)
	if err != nil || line.Level != "INFO" || line.Msg != "started" || line.Server != "files" || line.Component != "upstream" || line.Took != 1.5 {
		t.Errorf("got %s: %v", out.Bytes(), err)
	}
}

// TestLogLevels: each component logs what it is configured to, unless something else is set for it.
func TestLogLevels(t *testing.T) {
	var out bytes.Buffer
	log := telemetry.NewLog(&out, "text")
	app := log.Logger()
	upstream := app.With("component", "upstream", "server", "files")
	runner := upstream.With("component", "runner")
	said := func(want string) {
		t.Helper()
		out.Reset()
		app.Debug("a")
		upstream.Debug("u")
		runner.Debug("r")
		app.Warn("A")
		var got strings.Builder
		for line := range strings.Lines(out.String()) {
			_, rest, _ := strings.Cut(line, "msg=")
			got.WriteString(strings.ReplaceAll(strings.TrimSpace(rest), " server=files", "") + "; ")
		}
		if got.String() != want {
			t.Errorf("said %q, want %q", got.String(), want)
		}
	}
	set := func(component, level string, lasting time.Duration) {
		t.Helper()
		if err := log.Set(component, level, lasting); err != nil {
			t.Error(err)
		}
	}
	const a, u, r, warned = "a component=app; ", "u component=upstream; ", "r component=runner; ", "A component=app; "
	said(warned)
	log.Configure(&v1.Log{Level: "info", Levels: map[string]string{"upstream": "debug"}})
	said(u + warned)
	set("runner", "debug", 0)
	said(u + r + warned)
	log.Configure(&v1.Log{Level: "error"})
	said(r)
	set("", "WARNING", 0)
	said(warned)
	set("", "", 0)
	said("")
	set("", "debug", 0)
	said(a + u + r + warned)
}

func TestLogLevelEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out bytes.Buffer
		log := telemetry.NewLog(&out, "text")
		if err := log.Set("cluster", "debug", time.Minute); err != nil {
			t.Fatal(err)
		}
		of := func() telemetry.LogLevel {
			for _, l := range log.Levels() {
				if l.Component == "cluster" {
					return l
				}
			}
			return telemetry.LogLevel{}
		}
		time.Sleep(59 * time.Second)
		if l := of(); l.Level != "debug" || l.Configured != "info" || !l.Set || time.Until(l.Until) != time.Second {
			t.Errorf("%+v", l)
		}
		time.Sleep(2 * time.Second)
		if l := of(); l.Level != "info" || l.Set {
			t.Errorf("%+v", l)
		}
		log.Logger().With("component", "cluster").Debug("late")
		if out.Len() > 0 {
			t.Errorf("logged %s", out.Bytes())
		}
	})
}

func TestLogLevelUnknown(t *testing.T) {
	log := telemetry.NewLog(&bytes.Buffer{}, "text")
	for what, err := range map[string]error{`component "disk"`: log.Set("disk", "debug", 0), `level "loud"`: log.Set("app", "loud", 0)} {
		if err == nil || !strings.Contains(err.Error(), what+"; there are: ") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
