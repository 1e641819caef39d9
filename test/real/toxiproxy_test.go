package real_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// toxiproxyBinary builds what stands between the gateway and what it depends on, and spoils it.
var toxiproxyBinary = buildApart("toxiproxy", "1", ".", "main.go")

// toxiproxy is a process with proxies.
type toxiproxy struct {
	t   *testing.T
	api string
}

func startToxiproxy(t *testing.T) *toxiproxy {
	t.Helper()
	binary, err := toxiproxyBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait() // the test's context may have ended it
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return &toxiproxy{t: t, api: "http://" + strings.TrimSpace(line)}
}

// do asks the interface of Toxiproxy, and fails the test if that does not do it.
func (p *toxiproxy) do(method, path string, body, answer any) {
	p.t.Helper()
	b, err := json.Marshal(body)
	if err != nil {
		p.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(p.t.Context(), method, p.api+path, bytes.NewReader(b))
	if err != nil {
		p.t.Fatal(err)
	}
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode >= http.StatusMultipleChoices {
		p.t.Fatalf("toxiproxy: %s %s: %s", method, path, resp.Status)
	}
	if answer != nil {
		if err := json.NewDecoder(resp.Body).Decode(answer); err != nil {
			p.t.Fatal(err)
		}
	}
}

// proxy is one proxy.
type proxy struct {
	*toxiproxy
	name string
	// Listen is where it listens, as host:port.
	Listen string `json:"listen"`
}

// before puts a proxy before an address.
func (p *toxiproxy) before(name, address string) *proxy {
	p.t.Helper()
	x := &proxy{toxiproxy: p, name: name}
	p.do(http.MethodPost, "/proxies", map[string]any{"name": name, "listen": "127.0.0.1:0", "upstream": address, "enabled": true}, x)
	return x
}

// toxic spoils what goes to the clients of a proxy, until heal.
func (p *proxy) toxic(kind string, attributes map[string]any) {
	p.t.Helper()
	p.do(http.MethodPost, "/proxies/"+p.name+"/toxics", map[string]any{"name": kind, "type": kind, "stream": "downstream", "attributes": attributes}, nil)
}

func (p *proxy) heal(kind string) {
	p.t.Helper()
	p.do(http.MethodDelete, "/proxies/"+p.name+"/toxics/"+kind, nil, nil)
}

// cut ends all connections, and takes none while it is.
func (p *proxy) cut(now bool) {
	p.t.Helper()
	p.do(http.MethodPost, "/proxies/"+p.name, map[string]any{"enabled": !now, "listen": p.Listen}, nil)
}
