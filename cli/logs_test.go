package cli

import (
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/control"
)

func TestLogTextIsOneLine(t *testing.T) {
	var out strings.Builder
	if err := logText(&out, control.Line{PID: 7, Text: "a\tb\x1b[2J\u009b1m\r\nc\x7f"}); err != nil {
		t.Fatal(err)
	}
	if want := " [7] a\tb[2J1mc\n"; !strings.HasSuffix(out.String(), want) || strings.Count(out.String(), "\n") != 1 {
		t.Errorf("got %q, want %q at its end", out.String(), want)
	}
}
