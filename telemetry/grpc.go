package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"

	"google.golang.org/grpc/grpclog"
)

// grpcTo is where gRPC logs, of which a program has one; nil for nowhere.
var grpcTo atomic.Pointer[slog.Logger]

// TakeGRPC has this log get what gRPC tells of connections to collectors.
func (l *Log) TakeGRPC() { grpcTo.Store(l.Logger().With(componentKey, "telemetry")) }

// grpcLogger takes what gRPC logs: its errors as warnings, since calls go on, all else to debug with. What it quotes is dropped, as in
// other foreign lines.
type grpcLogger struct{}

var _ grpclog.LoggerV2 = grpcLogger{}

func (grpcLogger) tell(level slog.Level, text func(...any) string, args []any) {
	ctx := context.Background()
	log := grpcTo.Load()
	if log == nil || !log.Enabled(ctx, level) {
		return
	}
	line := text(args...)
	line = quoted.ReplaceAllLiteralString(line[:min(len(line), foreignMost)], `"…"`)
	log.Log(ctx, level, strings.ToValidUTF8(strings.TrimSpace(line), "?"))
}

func formatted(format string) func(...any) string {
	return func(args ...any) string { return fmt.Sprintf(format, args...) }
}

// Info implements grpclog.LoggerV2, as do the others.
func (g grpcLogger) Info(args ...any)   { g.tell(slog.LevelDebug, fmt.Sprint, args) }
func (g grpcLogger) Infoln(args ...any) { g.tell(slog.LevelDebug, fmt.Sprintln, args) }
func (g grpcLogger) Infof(format string, args ...any) {
	g.tell(slog.LevelDebug, formatted(format), args)
}
func (g grpcLogger) Warning(args ...any)   { g.tell(slog.LevelDebug, fmt.Sprint, args) }
func (g grpcLogger) Warningln(args ...any) { g.tell(slog.LevelDebug, fmt.Sprintln, args) }
func (g grpcLogger) Warningf(format string, args ...any) {
	g.tell(slog.LevelDebug, formatted(format), args)
}
func (g grpcLogger) Error(args ...any)   { g.tell(slog.LevelWarn, fmt.Sprint, args) }
func (g grpcLogger) Errorln(args ...any) { g.tell(slog.LevelWarn, fmt.Sprintln, args) }
func (g grpcLogger) Errorf(format string, args ...any) {
	g.tell(slog.LevelWarn, formatted(format), args)
}

// Fatal ends the program, as gRPC wants it.
func (g grpcLogger) Fatal(args ...any) {
	g.tell(slog.LevelError, fmt.Sprint, args)
	os.Exit(1)
}

func (g grpcLogger) Fatalln(args ...any)               { g.Fatal(fmt.Sprintln(args...)) }
func (g grpcLogger) Fatalf(format string, args ...any) { g.Fatal(fmt.Sprintf(format, args...)) }

// V implements grpclog.LoggerV2.
func (grpcLogger) V(level int) bool { return level <= 0 }
