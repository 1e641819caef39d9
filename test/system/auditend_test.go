package system_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestAuditLostInTheEnd: a gateway whose audit log is gone when it stops says so by its exit code.
func TestAuditLostInTheEnd(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	file, logs := filepath.Join(dir, "c.json"), filepath.Join(dir, "audit")
	s := testenv.HTTPServer(t, testenv.Script{Tools: []string{testenv.Tool("echo")}})
	config, err := json.Marshal(map[string]any{
		"listen": "127.0.0.1:0", "stateDir": dir, "mcpServers": map[string]any{"one": s.Entry()}, "log": map[string]any{"format": "json"},
		"audit": map[string]any{"sinks": []any{map[string]any{"file": filepath.Join(logs, "audit.jsonl")}}},
	})
	if err == nil {
		err = os.WriteFile(file, config, 0o600)
	}
	if err != nil {
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
	var said strings.Builder
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		var line struct{ Msg, URL string }
		said.WriteString(lines.Text() + "\n")
		if json.Unmarshal(lines.Bytes(), &line) != nil || line.Msg != "serving" {
			continue
		}
		if r := testenv.NewClient(t, line.URL, testenv.Modern).Tool("one__echo", "{}"); r.Result() == nil {
			t.Errorf("a call: %v", r)
		}
		testenv.Eventually(t, "a moment without the folder, which is put back again and again", func() bool {
			return errors.Join(os.RemoveAll(logs), os.WriteFile(logs, nil, 0o600)) == nil
		})
		_ = cmd.Process.Signal(os.Interrupt)
	}
	err = cmd.Wait()
	exit, ok := errors.AsType[*exec.ExitError](err)
	_, last, _ := strings.Cut(said.String(), "toolcrib: the audit log was not closed well: ")
	if !ok || exit.ExitCode() != 3 || !strings.Contains(last, logs) || !strings.Contains(said.String(), `"msg":"audit log not closed well"`) {
		t.Errorf("it ended with %v, and said\n%s", err, said.String())
	}
}
