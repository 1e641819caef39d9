package telemetry

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io"
	"log"
	"log/slog"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lmittmann/tint"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// componentKey is the attribute by which a logger says what part of the program it is of: its level is that part's.
const componentKey = "component"

// rootComponent is what loggers are of that say nothing.
const rootComponent = "app"

// Log is the program's log. The levels of its components change while it is in use. Lines of calls are written together every
// 50 ms, others at once. Where nobody takes them for a second, lines are dropped.
type Log struct {
	out     *gatherer
	handler slog.Handler
	levels  map[string]*level // by component; never changed

	mu sync.Mutex // of those who change them
}

// level is that of one component.
type level struct{ now atomic.Pointer[levels] }

// levels are those of a component: configured is always there, set goes before it until then, or for ever where that is zero.
type levels struct {
	configured slog.Level
	set        *slog.Level
	until      time.Time
}

func (l *level) at(now func() time.Time) slog.Level {
	s := l.now.Load()
	if s.set == nil || !s.until.IsZero() && now().After(s.until) {
		return s.configured
	}
	return *s.set
}

// LogLevel is what a component logs now.
type LogLevel struct {
	Component string
	// Level is what counts, Configured what the configuration says.
	Level, Configured string
	// Set says that Level was set at run time, and counts until then; a zero time is for as long as the program runs.
	Set   bool
	Until time.Time
}

// NewLog makes the program's log. Format "json" writes one JSON object a line, with durations in seconds; any other format is
// text: coloured when w is a terminal (NO_COLOR turns the colours off), key=value lines otherwise.
func NewLog(w io.Writer, format string) *Log {
	terminal := isTerminal(w)
	out := &gatherer{w: w, line: new(callLines).appendJSON, lost: func(lines int) []byte {
		var line bytes.Buffer
		slog.New(newHandler(&line, format, terminal)).Warn("lines of the log were dropped: nobody took them", "lines", lines, componentKey, rootComponent)
		return line.Bytes()
	}}
	l := &Log{out: out, handler: newHandler(out, format, terminal), levels: map[string]*level{}}
	for _, name := range v1.LogComponents() {
		l.levels[name] = new(level)
		l.levels[name].now.Store(new(levels))
	}
	return l
}

// Close writes what waits to be written; what is logged later does not wait.
func (l *Log) Close() { l.out.close() }

func newHandler(w io.Writer, format string, terminal bool) slog.Handler {
	switch {
	case format == "json":
		return slog.NewJSONHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug, ReplaceAttr: inSeconds})
	case terminal:
		return tint.NewTextHandler(w, &tint.Options{
			Level: slog.LevelDebug, TimeFormat: time.TimeOnly, NoColor: os.Getenv("NO_COLOR") != "",
		})
	default:
		return slog.NewTextHandler(w, &slog.HandlerOptions{Level: slog.LevelDebug})
	}
}

// inSeconds has durations be numbers of seconds, as everywhere else where machines read them.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}

// Logger logs as the component app, and what is made of it With a component as that one.
func (l *Log) Logger() *slog.Logger {
	return slog.New(&handler{log: l, inner: l.handler, component: rootComponent, level: l.levels[rootComponent]})
}

// TakeStandard has this log get what libraries print by the standard one, of which a program has one.
func (l *Log) TakeStandard() {
	log.SetFlags(0)
	log.SetOutput(foreign{l.Logger()})
}

// Foreign is a logger for libraries that want one.
func (l *Log) Foreign() *log.Logger { return log.New(foreign{l.Logger()}, "", 0) }

// foreign takes lines that are not this program's. What they quote is dropped: other ends of connections wrote it.
type foreign struct{ log *slog.Logger }

// foreignMost bounds a line, which may have the stack of a panic in it.
const foreignMost = 4 << 10

var quoted = regexp.MustCompile(`"(\\.|[^"\\])*("|$)`)

// Write implements io.Writer.
func (f foreign) Write(line []byte) (int, error) {
	text := quoted.ReplaceAllLiteralString(string(line[:min(len(line), foreignMost)]), `"…"`)
	f.log.Debug(strings.ToValidUTF8(strings.TrimSpace(text), "?"))
	return len(line), nil
}

// Configure has components log what the configuration says. What was set stays.
func (l *Log) Configure(c *v1.Log) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, cell := range l.levels {
		text := cmp.Or(c.Levels[name], c.Level)
		next := *cell.now.Load()
		next.configured = parseLevel(text)
		cell.now.Store(&next)
	}
}

func parseLevel(text string) slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(text)) != nil {
		return slog.LevelInfo
	}
	return level
}

// Set has a component log another level for a time, or for as long as the program runs where that is 0. An empty component means
// all of them, an empty level that of the configuration.
func (l *Log) Set(component, text string, lasting time.Duration) error {
	if component != "" && l.levels[component] == nil {
		return fmt.Errorf("there is no component %.80q; there are: %s", component, strings.Join(v1.LogComponents(), ", "))
	}
	text = v1.LogLevel(text)
	if text != "" && !slices.Contains(v1.LogLevels(), text) {
		return fmt.Errorf("there is no level %.80q; there are: %s", text, strings.Join(v1.LogLevels(), ", "))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for name, cell := range l.levels {
		if component != "" && component != name {
			continue
		}
		next := levels{configured: cell.now.Load().configured}
		if text != "" {
			next.set = new(parseLevel(text))
			if lasting > 0 {
				next.until = time.Now().Add(lasting)
			}
		}
		cell.now.Store(&next)
	}
	return nil
}

// Levels are those of all components, by name.
func (l *Log) Levels() []LogLevel {
	all := make([]LogLevel, 0, len(l.levels))
	for _, name := range v1.LogComponents() {
		s := l.levels[name].now.Load()
		is := LogLevel{Component: name, Level: nameOf(l.levels[name].at(time.Now)), Configured: nameOf(s.configured)}
		if s.set != nil && (s.until.IsZero() || time.Now().Before(s.until)) {
			is.Set, is.Until = true, s.until
		}
		all = append(all, is)
	}
	return all
}

func nameOf(level slog.Level) string { return strings.ToLower(level.String()) }

// handler hands on what the level of its component lets through, with the component.
type handler struct {
	log       *Log
	inner     slog.Handler
	component string
	level     *level
}

// Enabled implements slog.Handler.
func (h *handler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.at(time.Now)
}

// Handle implements slog.Handler.
func (h *handler) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(slog.String(componentKey, h.component))
	err := h.inner.Handle(ctx, r)
	h.log.out.flush()
	return err
}

// WithAttrs implements slog.Handler. The last component counts.
func (h *handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	next, rest := *h, make([]slog.Attr, 0, len(attrs))
	for _, a := range attrs {
		cell := h.log.levels[a.Value.String()]
		if a.Key != componentKey || cell == nil {
			rest = append(rest, a)
			continue
		}
		next.component, next.level = a.Value.String(), cell
	}
	next.inner = h.inner.WithAttrs(rest)
	return &next
}

// WithGroup implements slog.Handler.
func (h *handler) WithGroup(name string) slog.Handler {
	next := *h
	next.inner = h.inner.WithGroup(name)
	return &next
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
