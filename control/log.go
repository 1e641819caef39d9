package control

import (
	"context"
	"net/http"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/mcp"
)

// LogReport is what one replica logs.
type LogReport struct {
	Components []LogLevel `json:"components"`
}

// LogLevel is what a component logs.
type LogLevel struct {
	Component string `json:"component"`
	// Level is what counts; Configured what the configuration says.
	Level      string `json:"level"`
	Configured string `json:"configured"`
	// Set says that Level was set at run time, and counts until then; without a time for as long as the gateway runs.
	Set   bool      `json:"set,omitempty"`
	Until time.Time `json:"until,omitzero"`
}

// LogChange has a component log another level.
type LogChange struct {
	// Component is left out for all.
	Component string `json:"component,omitempty"`
	// Level is debug, info, warn or error, or default for that of the configuration.
	Level string `json:"level"`
	// Seconds is how long it counts; 0 for as long as the gateway runs.
	Seconds int64 `json:"seconds,omitempty"`
}

const (
	logChangeMost = 30 * 24 * time.Hour
	levelDefault  = "default"
)

func (a *API) logLevels(*asked) (any, error) {
	if a.o.LogLevels == nil {
		return nil, absent("log")
	}
	return LogReport{a.o.LogLevels()}, nil
}

func (a *API) setLogLevel(q *asked) (any, error) {
	if a.o.SetLogLevel == nil {
		return nil, absent("log")
	}
	var what LogChange
	if err := q.decode(&what); err != nil {
		return nil, err
	}
	q.target = what.Component
	if q.target == "" {
		q.target = "all components"
	}
	q.about = []audit.Fact{{Name: "level", JSON: string(mcp.AppendString(nil, clip(what.Level)))}}
	lasting := time.Duration(what.Seconds) * time.Second
	level := what.Level
	switch {
	case what.Seconds < 0 || what.Seconds > int64(logChangeMost/time.Second):
		return nil, wrong("seconds", strconv.FormatInt(what.Seconds, 10), "take 30 days or less, or 0 for as long as the gateway runs", "is out of bounds")
	case level == "":
		return nil, wrong("level", "", "name one, or write default for that of the configuration", "is missing")
	case level == levelDefault:
		level, lasting = "", 0
	}
	if err := a.o.SetLogLevel(what.Component, level, lasting); err != nil {
		return nil, wrong("component or level", what.Component+" "+what.Level, "name one of them; toolcrib log level shows all", "%v", err)
	}
	return LogReport{a.o.LogLevels()}, nil
}

// LogLevels is what the gateway logs.
func (r *Remote) LogLevels(ctx context.Context) (*LogReport, error) {
	report := new(LogReport)
	return report, r.do(ctx, http.MethodGet, "log", nil, report)
}

// SetLogLevel changes it.
func (r *Remote) SetLogLevel(ctx context.Context, what LogChange) (*LogReport, error) {
	report := new(LogReport)
	return report, r.do(ctx, http.MethodPost, "log", what, report)
}
