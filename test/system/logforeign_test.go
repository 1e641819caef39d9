package system_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// strayCollector takes whatever it is sent, and goes on to talk when nobody asks.
func strayCollector(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go stray(conn)
		}
	}()
	return "http://" + ln.Addr().String()
}

func stray(conn net.Conn) {
	defer conn.Close()
	if r, err := http.ReadRequest(bufio.NewReader(conn)); err != nil || r.ContentLength < 0 {
		return
	}
	_, _ = conn.Write([]byte("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\nsekrit \"stray\\\" bytes\n"))
	_, _ = conn.Read(make([]byte, 1)) // until the other end has had enough
}

// TestGRPCLines: what gRPC tells is in the log too, however it is told to print, and all of standard error is JSON.
func TestGRPCLines(t *testing.T) {
	t.Parallel()
	to := newReceivers(t)
	to.spans.Refuse(http.StatusBadRequest)
	nobody := "http://" + testenv.Reserve(t)
	dir := t.TempDir()
	file := filepath.Join(dir, "c.json")
	config, err := json.Marshal(map[string]any{
		"listen": "127.0.0.1:0", "stateDir": dir, "mcpServers": map[string]any{"one": map[string]any{"url": nobody}},
		"log": map[string]any{"format": "json", "level": "debug"},
		"telemetry": map[string]any{
			"traces":  map[string]any{"endpoint": to.spans.URL, "protocol": "grpc", "sample": 1},
			"metrics": map[string]any{"endpoint": nobody, "protocol": "grpc", "every": "1s", "timeout": "1s"},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "serve", file)
	cmd.Env = append(os.Environ(), "GRPC_GO_LOG_SEVERITY_LEVEL=info", "GRPC_GO_LOG_VERBOSITY_LEVEL=2")
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var line struct{ Level, Msg, URL, Component string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			t.Errorf("%s: %v", lines.Text(), err)
		}
		if line.Msg == "serving" {
			callIn(testenv.NewClient(t, line.URL, testenv.Modern), "one__any", traceparent)
		}
		was := len(found)
		for name, is := range map[string]bool{
			"gRPC":   strings.HasPrefix(line.Msg, "[core]") && line.Component == "telemetry" && line.Level == "DEBUG",
			"traces": line.Msg == "traces were not exported", "metrics": line.Msg == "metrics were not exported",
		} {
			if is {
				found[name] = true
			}
		}
		if was < len(found) && len(found) == 3 {
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
	if err := cmd.Wait(); err != nil || len(found) != 3 {
		t.Errorf("%v, lines were seen: %v", err, found)
	}
}

// TestForeignLines: what libraries print for themselves is in the program's log like everything else, without what a peer wrote.
func TestForeignLines(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c.json")
	config, err := json.Marshal(withRoot(map[string]any{
		"listen": "127.0.0.1:0", "stateDir": dir, "mcpServers": map[string]any{}, "log": map[string]any{"format": "json", "level": "debug"},
		"telemetry": map[string]any{"metrics": map[string]any{"endpoint": strayCollector(t), "every": "1s"}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), testenv.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "serve", file)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var line struct{ Msg, Component string }
		err := json.Unmarshal(lines.Bytes(), &line)
		if text := lines.Text(); err != nil && strings.Contains(text, "Unsolicited") || strings.Contains(text, "sekrit") {
			t.Errorf("%s: %v", text, err)
		}
		if strings.HasPrefix(line.Msg, "Unsolicited response") && line.Component == "app" && !found {
			found = true
			_ = cmd.Process.Signal(os.Interrupt)
		}
	}
	if err := cmd.Wait(); err != nil || !found {
		t.Errorf("%v, the line was seen: %t", err, found)
	}
}

// TestNobodyReadsTheLog: when nobody reads standard error any more, calls are answered, and the gateway ends when it is told to.
func TestNobodyReadsTheLog(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file := filepath.Join(dir, "c.json")
	url := fmt.Sprintf("http://127.0.0.1:%d", testenv.FreePort(t))
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	config, err := json.Marshal(map[string]any{
		"listen": strings.TrimPrefix(url, "http://"), "stateDir": dir, "mcpServers": map[string]any{"one": s.Entry()},
		"log": map[string]any{"format": "json", "level": "debug", "calls": true},
	})
	if err == nil {
		err = os.WriteFile(file, config, 0o600)
	}
	r, w, pipeErr := os.Pipe() // as nobody reads it, 64 KiB fill it
	if err = errors.Join(err, pipeErr); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 2*testenv.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, os.Args[0], "serve", file)
	cmd.Stderr = w
	if err := errors.Join(cmd.Start(), w.Close()); err != nil {
		t.Fatal(err)
	}
	testenv.Eventually(t, "it is ready", func() bool {
		answer, err := http.Get(url + "/health/ready")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	c := testenv.NewClient(t, url+"/mcp", testenv.Modern)
	for range 1000 { // of some 500 bytes each
		if r := c.Tool("one__echo", "{}"); r.Result() == nil {
			t.Fatalf("a call: %v", r)
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
}
