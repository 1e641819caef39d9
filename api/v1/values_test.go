package v1_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

func TestDuration(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5s": 5 * time.Second, "1m30s": 90 * time.Second, "1d": 24 * time.Hour, "1d12h": 36 * time.Hour, "0": 0, "0s": 0,
		"1.5h": 90 * time.Minute, "500ms": 500 * time.Millisecond,
	} {
		var d v1.Duration
		if err := d.UnmarshalText([]byte(text)); err != nil || d.D() != want {
			t.Errorf("%q: %v, %v, want %v", text, d.D(), err, want)
		}
	}
	for _, text := range []string{"", "5", "-5s", "+5s", "d", "1dd", "1d-1h", "1h1d", "5 s", "99999d1h99999999h", "70000d", "s", "1.5d"} {
		var d v1.Duration
		if err := d.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %v", text, d)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", time.Minute: "1m", time.Hour: "1h", 90 * time.Second: "1m30s", 24 * time.Hour: "24h", time.Hour + time.Second: "1h0m1s",
	} {
		if got := v1.Duration(d).String(); got != want {
			t.Errorf("%v is written %q, want %q", d, got, want)
		}
	}
}

func TestSize(t *testing.T) {
	for text, want := range map[string]v1.Size{
		"0": 0, "1048576": 1 << 20, "16Mi": 16 << 20, "16MiB": 16 << 20, "1Gi": 1 << 30, "64k": 64000, "64K": 64000, "5B": 5, "2GB": 2e9,
	} {
		var s v1.Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v, want %d", text, s, err, want)
		}
	}
	for _, text := range []string{"", "Mi", "-1", "+1", "1.5Mi", "16 Mi", "16mi", "16ki", "16Ti", "9999999999999Gi", "16BB", "16MM", "1e3"} {
		var s v1.Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q was read as %d", text, s)
		}
	}
	for size, want := range map[v1.Size]string{0: "0", 1: "1", 1024: "1Ki", 1 << 20: "1Mi", 3 << 29: "1536Mi", 1000: "1000"} {
		if got := size.String(); got != want {
			t.Errorf("%d is written %q, want %q", int64(size), got, want)
		}
	}
}

func TestSizeJSON(t *testing.T) {
	var m v1.Messages
	if err := json.Unmarshal([]byte(`{"maxBytes": 1024}`), &m); err != nil || m.MaxBytes != 1024 {
		t.Errorf("number: %v, %v", m.MaxBytes, err)
	}
	if err := json.Unmarshal([]byte(`{"maxBytes": "1Mi"}`), &m); err != nil || m.MaxBytes != 1<<20 {
		t.Errorf("text: %v, %v", m.MaxBytes, err)
	}
}

func TestDimensionsJSON(t *testing.T) {
	for text, want := range map[string]string{`"principal"`: "[principal]", `["tenant", "tool"]`: "[tenant tool]", ` []`: "[]", `null`: "[]"} {
		var l v1.Limit
		if err := json.Unmarshal([]byte(`{"per": `+text+`}`), &l); err != nil || fmt.Sprint(l.Per) != want {
			t.Errorf("%s: %v, %v", text, l.Per, err)
		}
	}
	if err := json.Unmarshal([]byte(`{"per": 5}`), &v1.Limit{}); err == nil {
		t.Error("a number is taken")
	}
}

func TestSecretIsNeverShown(t *testing.T) {
	key := v1.APIKey{Name: "ci", Key: "hunter2-hunter2-hunter2"}
	var logged strings.Builder
	log := slog.New(slog.NewJSONHandler(&logged, nil))
	log.Info("text", "key", key, "secret", key.Key)
	slog.New(slog.NewTextHandler(&logged, nil)).Info("json", "key", key, "secret", key.Key)
	marshalled, err := json.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	shown := logged.String() + string(marshalled)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		shown += fmt.Sprintf(verb, key) + fmt.Sprintf(verb, key.Key)
	}
	if strings.Contains(shown, "hunter2") || strings.Contains(shown, fmt.Sprintf("%x", "hunter2")) {
		t.Errorf("shown: %s", shown)
	}
	if v1.Secret("").String() != "" || string(key.Key) != "hunter2-hunter2-hunter2" {
		t.Error("the value changed")
	}
}

func TestSealKeys(t *testing.T) {
	const key = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8"
	for text, ok := range map[string]bool{
		key: true, key + "=": true, "${file:seal.keys}": true,
		"": false, "# only a comment": false, key + "AA": false, key[1:]: false, "***" + key: false,
	} {
		if _, problems := parse("seal: {keys: ['" + text + "']}"); (problems == nil) != ok {
			t.Errorf("%q: %v", text, problems)
		}
	}
}

func TestSetDefaults(t *testing.T) {
	t.Setenv("XDG_STATE_HOME", "/state")
	c := &v1.Config{
		MCPServers: map[string]*v1.Server{"a": {Command: "x"}, "b": {URL: "https://b.example", Timeouts: v1.Timeouts{Idle: 1}}, "nil": nil},
		Auth:       v1.Auth{APIKeys: []v1.APIKey{{Name: "n"}}},
	}
	c.SetDefaults()
	second := v1.Duration(time.Second)
	timeouts := v1.Timeouts{Connect: 5 * second, Start: 60 * second, List: 10 * second, Idle: 300 * second}
	short := timeouts
	pool := v1.Pool{Idle: 600 * second, Concurrency: 64, Queue: 1000, Wait: 30 * second}
	retries := v1.Retries{Attempts: 2, Backoff: second / 10, Budget: 10}
	fallback := v1.Fallback{Lists: 300 * second, After: second}
	restarts := v1.Restarts{Max: 10, Window: 600 * second}
	liveness := v1.Liveness{Every: 60 * second, Timeout: 10 * second}
	spread := v1.Balance{By: "least", State: "none", Away: 100}
	health := v1.Health{Failures: 3, EjectFor: 10 * second, Most: 50}
	short.Idle = 1
	keep := v1.ServerCache{Scope: "private"}
	want := &v1.Config{
		Listen: "127.0.0.1:8080",
		MCPServers: map[string]*v1.Server{
			"a":   {Type: "stdio", Command: "x", Pool: pool, Restarts: restarts, Liveness: liveness, Timeouts: timeouts, Balance: spread, Health: health, ListTTL: 5 * second, Retries: retries, Fallback: fallback, Cache: keep},
			"b":   {Type: "http", URL: "https://b.example", Pool: pool, Restarts: restarts, Liveness: liveness, Timeouts: short, Balance: spread, Health: health, ListTTL: 5 * second, Retries: retries, Fallback: fallback, Cache: keep},
			"nil": nil,
		},
		Names:     v1.Names{Separator: "__"},
		Auth:      v1.Auth{APIKeys: []v1.APIKey{{Name: "n", Tenant: "default"}}, Revocation: 30 * second},
		Pin:       "off",
		Audit:     v1.Audit{Records: "all", Full: "block", Wait: 5 * second, Checkpoint: 60 * second},
		Messages:  v1.Messages{MaxBytes: 16 << 20, MaxDepth: 128},
		Sessions:  v1.Sessions{TTL: v1.Duration(24 * time.Hour)},
		Cache:     v1.Cache{Size: 256 << 20, Entry: 1 << 20},
		Questions: v1.Questions{Timeout: v1.Duration(5 * time.Minute), Rounds: 10, PerPrincipal: 100, PerServer: 1000, Total: 10_000},
		Streams:   v1.Streams{PerPrincipal: 100, Total: 10_000, Subscriptions: 1000, ServerSubscriptions: 10_000},
		Overload:  v1.Overload{Memory: "80%"},
		StateDir:  "/state/toolcrib",
		Runner:    v1.Runner{MaxInstances: 500, MaxPerTenant: 200},
		Launch:    v1.Launch{Approval: "off"},
		Log:       v1.Log{Level: "info", Principals: "hash", Format: "text"},
		Telemetry: v1.Telemetry{Service: "toolcrib", Traces: v1.Traces{
			Protocol: "http", Timeout: 10 * second, Queue: 4096, Sample: 10_000, Parent: "follow", Slow: 2 * second, Kept: 100,
		}, Metrics: v1.Metrics{
			Protocol: "http", Every: 60 * second, Timeout: 10 * second, Tenants: true, MaxTenants: 2000, MaxTools: 2000, MaxClients: 50,
		}},
		KeepAlive:    15 * second,
		DrainTimeout: 30 * second,
	}
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
