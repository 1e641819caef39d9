package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/toolcrib/toolcrib/cli"
)

// TestBenchRefused: a server that wants a credential gets no load, and the remedy is told.
func TestBenchRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/mcp" {
			t.Errorf("asked for %s", r.URL.Path)
		}
		w.WriteHeader(http.StatusUnauthorized)
	}))
	defer server.Close()
	t.Setenv("TOOLCRIB_API_KEY", "")
	t.Setenv("HOME", t.TempDir())
	var out, errs bytes.Buffer
	code := cli.Main(t.Context(), []string{"bench", server.URL, "--state-dir", t.TempDir()}, strings.NewReader(""), &out, &errs)
	if code != cli.ExitUnreachable || !strings.Contains(errs.String(), "wants a credential (HTTP 401): set TOOLCRIB_API_KEY") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
}

// TestRootEndpoint: a URL without a path is that of a gateway, or of a server whose endpoint is the root, as those of some services.
func TestRootEndpoint(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m struct{ ID json.RawMessage }
		if r.URL.Path != "/" || json.NewDecoder(r.Body).Decode(&m) != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","supportedVersions":["2026-07-28"],`+
			`"capabilities":{},"tools":[{"name":"alone","inputSchema":{"type":"object"}}]}}`, m.ID)
	}))
	defer server.Close()
	t.Setenv("TOOLCRIB_API_KEY", "")
	t.Setenv("HOME", t.TempDir())
	for _, args := range [][]string{
		{"tools", "--url", server.URL},
		{"bench", server.URL, "--mix", "list=1", "--concurrency", "1", "--warmup", "0s", "--duration", "20ms", "--state-dir", t.TempDir()},
	} {
		var out, errs bytes.Buffer
		if code := cli.Main(t.Context(), args, strings.NewReader(""), &out, &errs); code != 0 {
			t.Errorf("%v: exit code %d\n%s%s", args, code, out.String(), errs.String())
		}
	}
}

// TestBenchInterrupted: Ctrl-C ends a load, which is reported as far as it came, but not recorded. What may be secret in the URL is
// shown nowhere, and the server gets the credential.
func TestBenchInterrupted(t *testing.T) {
	const enough = 20
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	var calls, strangers atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer k3y" {
			strangers.Add(1)
		}
		var m struct{ ID json.RawMessage }
		_ = json.NewDecoder(r.Body).Decode(&m)
		if calls.Add(1) == enough {
			interrupt()
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":{"resultType":"complete","tools":[]}}`, m.ID)
	}))
	defer server.Close()
	t.Setenv("TOOLCRIB_API_KEY", "k3y")
	dir := t.TempDir()
	page := filepath.Join(dir, "page.html")
	var out, errs bytes.Buffer
	code := cli.Main(ctx, []string{
		"bench", server.URL + "/mcp?token=s3cret", "--mix", "list=1", "--rate", "200/s", "--duration", "1h",
		"--warmup", "0s", "--state-dir", dir, "--html", page,
	}, strings.NewReader(""), &out, &errs)
	if code != cli.ExitInterrupted || !strings.Contains(out.String(), "The load was ended before its time.") || !strings.Contains(out.String(), "list ") {
		t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
	}
	if _, err := os.Stat(filepath.Join(dir, "evidence")); err == nil {
		t.Error("a load that was interrupted is recorded")
	}
	text, err := os.ReadFile(page)
	if err != nil || !bytes.Contains(text, []byte("ended before its time")) {
		t.Errorf("the page says %s, %v", text, err)
	}
	if all := out.String() + errs.String() + string(text); strings.Contains(all, "s3cret") || strings.Contains(all, "k3y") {
		t.Errorf("a secret is shown:\n%s", all)
	}
	if n := strangers.Load(); n > 0 {
		t.Errorf("%d requests came without the credential", n)
	}
}
