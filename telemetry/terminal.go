package telemetry

import "io"

// ForPeople tells whether people read what is logged to w in a format. A program that reads JSON takes nothing else.
func ForPeople(w io.Writer, format string) bool { return format != "json" || isTerminal(w) }
