package cli_test

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestOutlivesReaders: a gateway whose output and log nobody reads any more goes on; its audit sink stdout
// fails.
func TestOutlivesReaders(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	text := "listen: 127.0.0.1:0\nstateDir: " + dir + "\naudit: {sinks: [{stdout: true}]}\nservers: {one: {command: toolcrib, args: [example]}}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "toolcrib", "serve", file)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	defer func() { _ = cmd.Process.Kill() }()
	base := ""
	for lines := bufio.NewScanner(log); base == "" && lines.Scan(); {
		if _, at, ok := strings.Cut(lines.Text(), " serves at "); ok {
			base = strings.TrimSuffix(strings.TrimSpace(at), "/mcp")
		}
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	go func() { ended <- cmd.Wait() }()
	client := &http.Client{Timeout: 10 * time.Second}
	defer client.CloseIdleConnections()
	tool := exec.CommandContext(t.Context(), "toolcrib", "tools", "--url", base+"/mcp")
	if text, err := tool.CombinedOutput(); err != nil {
		t.Errorf("tools: %v: %s", err, text)
	}
	for end := time.Now().Add(startTimeout); ; {
		if strings.Contains(get(t, client, base+"/metrics"), `toolcrib_audit_sink_failing{sink="stdout"} 1`) {
			break
		}
		if time.Now().After(end) {
			t.Fatal("the sink does not fail")
		}
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the gateway ended with %v", err)
		}
	case <-time.After(startTimeout):
		t.Error("the gateway does not end")
	}
}

// TestJSONAlone has programs that read the log in JSON find nothing else there, also where the records have standard output.
func TestJSONAlone(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c.yaml")
	text := "listen: 127.0.0.1:0\nstateDir: " + dir + "\nlog: {format: json}\naudit: {sinks: [{stdout: true}]}\nmcpServers: {}\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "toolcrib", "serve", file)
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill() }()
	served := false
	for lines := bufio.NewScanner(log); lines.Scan(); {
		var line struct{ Msg string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%v: %q", err, lines.Text())
		}
		if line.Msg == "serving" {
			served = true
			if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || !served {
		t.Errorf("the gateway served: %v, and ended with %v", served, err)
	}
}

func get(t *testing.T, c *http.Client, url string) string {
	t.Helper()
	resp, err := c.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
