package telemetry_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/toolcrib/toolcrib/telemetry"
)

// TestLoggerColour has text coloured on a terminal only, and never when the format is json.
func TestLoggerColour(t *testing.T) {
	file, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	telemetry.NewLog(file, "text").Logger().Warn("to a file")
	if text, _ := os.ReadFile(file.Name()); !bytes.Contains(text, []byte(`level=WARN msg="to a file"`)) {
		t.Errorf("a file gets %q", text)
	}

	tests := []struct {
		format, noColor string
		coloured        bool
	}{
		{"text", "", true},
		{"text", "1", false},
		{"json", "", false},
	}
	for _, tt := range tests {
		t.Setenv("NO_COLOR", tt.noColor)
		got := onTerminal(t, func(terminal *os.File) {
			telemetry.NewLog(terminal, tt.format).Logger().Warn("careful")
		})
		if !strings.Contains(got, "careful") || strings.Contains(got, "\x1b[") != tt.coloured {
			t.Errorf("%s, NO_COLOR=%s: a terminal gets %q", tt.format, tt.noColor, got)
		}
	}
}

// TestForPeople: JSON on a terminal is read by people, anywhere else by programs.
func TestForPeople(t *testing.T) {
	onTerminal(t, func(terminal *os.File) {
		if !telemetry.ForPeople(terminal, "json") {
			t.Error("nobody reads a terminal")
		}
		_, _ = terminal.WriteString("done")
	})
	if w := new(bytes.Buffer); telemetry.ForPeople(w, "json") || !telemetry.ForPeople(w, "text") {
		t.Error("what is no terminal is read by others")
	}
}

// onTerminal runs f with the terminal side of a new pseudo-terminal and returns what it wrote.
func onTerminal(t *testing.T, f func(terminal *os.File)) string {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("cannot unlock the pseudo-terminal: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Skipf("no number of the pseudo-terminal: %v", err)
	}
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no pseudo-terminal here: %v", err)
	}
	defer terminal.Close()
	f(terminal)
	var out [4096]byte
	got, err := master.Read(out[:])
	if err != nil {
		t.Fatal(err)
	}
	return string(out[:got])
}
