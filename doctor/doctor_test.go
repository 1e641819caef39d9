package doctor_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"database/sql"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/cluster/redis"
	"github.com/toolcrib/toolcrib/doctor"
	"github.com/toolcrib/toolcrib/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

const (
	apiKey    = "tck_a-key-of-the-installation"
	password  = "the-password-of-redis"
	sealKey   = "q1P0Yl0mJmzv2Yyx3nq0c6q6cH1m5xJrUQy2h3o8x2Q="
	serverKey = "the-key-of-a-server"
)

// installation is one that lacks nothing, until a fault is planted in it.
type installation struct {
	t      *testing.T
	dir    string
	config map[string]any
	*parts
	issuer *testenv.Issuer
	o      doctor.Options
	mode   os.FileMode // of the configuration; 0600 where it is not set
}

// write puts a file beside the configuration.
func (in *installation) write(name, text string, mode os.FileMode) string {
	in.t.Helper()
	path := filepath.Join(in.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		in.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		in.t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		in.t.Fatal(err)
	}
	return path
}

func (in *installation) state() string { return in.dir + "/state" }

// server is the entry of a server.
func (in *installation) server(name string) map[string]any {
	return in.config["mcpServers"].(map[string]any)[name].(map[string]any)
}

// set replaces a value; the last key may be in another object.
func (in *installation) set(value any, path ...string) {
	at := in.config
	for _, key := range path[:len(path)-1] {
		at = at[key].(map[string]any)
	}
	at[path[len(path)-1]] = value
}

// parts are what installations use that takes time to start.
type parts struct {
	redis    *testenv.Redis
	postgres *testenv.Postgres

	modern, legacy *testenv.Server
	command        *testenv.Lone
	database       string
}

func start(t *testing.T) *parts {
	t.Helper()
	p := &parts{
		redis: testenv.StartRedis(t, "--requirepass", password), postgres: testenv.StartPostgres(t), command: testenv.LoneServer(t, "modern", ""),
		modern: testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(3)}),
		legacy: testenv.HTTPServer(t, testenv.Script{Era: testenv.Legacy, Tools: testenv.Tools(2)}),
	}
	p.database = p.postgres.Database()
	return p
}

// healthy is an installation with a bit of everything.
func healthy(t *testing.T, parts *parts) *installation {
	t.Helper()
	in := &installation{t: t, dir: t.TempDir(), parts: parts}
	in.issuer = testenv.NewIssuer(t, "ES256", "")
	cert, key := testenv.WriteCertificate(t, in.dir, "tools", testenv.Certificate(t, &x509.Certificate{
		DNSNames: []string{"tools.test"}, NotAfter: time.Now().Add(90 * 24 * time.Hour),
	}, nil))
	in.write("api.key", apiKey+"\n", 0o600)
	in.write("seal.keys", sealKey+"\n", 0o600)
	in.write("redis.password", password, 0o600)
	if err := os.Mkdir(in.state(), 0o700); err != nil {
		t.Fatal(err)
	}
	in.config = map[string]any{
		"listen": "127.0.0.1:0", "publicURL": "https://tools.test", "stateDir": in.state(),
		"tls": map[string]any{"cert": cert, "key": key},
		"mcpServers": map[string]any{
			"modern": map[string]any{"url": in.modern.URL, "headers": map[string]any{"X-Key": serverKey, "X-Team": "server"}},
			"legacy": map[string]any{"url": in.legacy.URL},
			"files":  parts.command.Entry(map[string]any{"isolation": "shared"}),
		},
		"auth": map[string]any{
			"issuers": []any{in.issuer.Entry(map[string]any{"claims": map[string]any{"groups": "groups"}})},
			"apiKeys": []any{map[string]any{"name": "ci", "key": "${file:api.key}", "groups": []any{"staff"}}},
		},
		"policies": map[string]any{
			"roles":    map[string]any{"finder": map[string]any{"allow": []any{"modern__*", "files__*"}}},
			"bindings": []any{map[string]any{"group": "staff", "role": "finder"}},
		},
		"cluster":   "redis://:" + password + "@" + in.redis.Address(),
		"store":     in.database,
		"telemetry": map[string]any{"traces": map[string]any{"endpoint": answering(t, func(http.ResponseWriter, *http.Request) {})}},
		"seal":      map[string]any{"keys": []any{"${file:seal.keys}"}},
		"audit":     map[string]any{"sinks": []any{map[string]any{"file": "audit.jsonl"}}},
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	in.o = doctor.Options{File: in.dir + "/toolcrib.json", Dial: app.DialOptions{Guard: []string{self, "guard"}, Confine: []string{self, "confine"}, Version: "test"}}
	// A machine that runs tests may be full, or a pod.
	in.o.At(doctor.Elsewhere{Free: 1 << 36, OpenFiles: 1 << 16, Env: map[string]string{"KUBERNETES_SERVICE_HOST": ""}})
	return in
}

// examine writes the configuration and returns what is found.
func (in *installation) examine() []doctor.Finding {
	in.t.Helper()
	text, err := json.MarshalIndent(in.config, "", "  ")
	if err != nil {
		in.t.Fatal(err)
	}
	if _, err := os.Stat(in.o.File); err != nil {
		in.write("toolcrib.json", string(text), cmp.Or(in.mode, 0o600))
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*testenv.Patience)
	defer cancel()
	return slices.Collect(doctor.Examine(ctx, in.o))
}

// show is findings as text.
func show(all []doctor.Finding) string {
	var b strings.Builder
	for _, f := range all {
		b.WriteString(string(f.Status) + " | " + f.Check + " | " + f.About + " | " + f.Text + " | " + f.Remedy + "\n")
	}
	return b.String()
}

// TestInstallation examines one that lacks nothing, and then one with each fault planted in it.
func TestInstallation(t *testing.T) {
	parts := start(t)
	t.Run("healthy", func(t *testing.T) { testHealthy(t, parts) })
	t.Run("faults", func(t *testing.T) { testFaults(t, parts) })
	t.Run("checklist", func(t *testing.T) { testChecklist(t, parts) })
}

// testHealthy finds nothing to mend, says so of each check, and names no secret.
func testHealthy(t *testing.T, parts *parts) {
	in := healthy(t, parts)
	found := in.examine()
	text := show(found)
	for _, f := range found {
		if f.Status == doctor.Warn || f.Status == doctor.Fail || f.Remedy != "" {
			t.Errorf("of a healthy installation: %+v", f)
		}
	}
	at := 0
	for _, c := range doctor.Checks(false) {
		i := slices.IndexFunc(found, func(f doctor.Finding) bool { return f.Check == c.Name })
		if i < at {
			t.Errorf("check %q: finding %d, want one after %d", c.Name, i, at)
		}
		at = max(at, i)
	}
	discreet(t, text)
	for _, want := range []string{"modern era (2026-07-28), 3 tools", "legacy era (2025-11-25), 2 tools"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
}

func discreet(t *testing.T, text string) {
	t.Helper()
	for _, secret := range []string{apiKey, password, sealKey, serverKey} {
		if strings.Contains(text, secret) {
			t.Errorf("%q is shown:\n%s", secret, text)
		}
	}
}

// fault is something wrong with an installation, and how it is named.
type fault struct {
	plant  func(*installation)
	check  string
	status doctor.Status
	text   string
	remedy string
}

// testFaults has each fault be named with its remedy.
func testFaults(t *testing.T, parts *parts) {
	for name, f := range faults {
		t.Run(name, func(t *testing.T) {
			in := healthy(t, parts)
			in.o.Only = []string{f.check}
			f.plant(in)
			in.named(f)
		})
	}
}

// TestServerHangs: a server that does nothing is named, and what is found of others is not lost.
func TestServerHangs(t *testing.T) {
	here := testenv.HTTPServer(t, testenv.Script{Tools: testenv.Tools(3)})
	in := &installation{t: t, dir: t.TempDir()}
	in.config = map[string]any{"stateDir": in.state(), "mcpServers": map[string]any{
		"hangs": map[string]any{"command": "sleep", "args": []any{"1000"}}, "here": map[string]any{"url": here.URL},
	}}
	in.o = doctor.Options{File: in.dir + "/toolcrib.json", Only: []string{"servers"}, Timeout: 3 * time.Second}
	text := show(in.examine())
	for _, want := range []string{"fail | servers | server hangs | gave no answer in time", "pass | servers | server here | modern era"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in:\n%s", want, text)
		}
	}
	testenv.Eventually(t, "the end of the process", func() bool {
		all := make([]byte, 1<<20)
		return !bytes.Contains(all[:runtime.Stack(all, true)], []byte("doctor.servers"))
	})
}

// named examines the installation and wants the fault among what is found.
func (in *installation) named(f fault) {
	in.t.Helper()
	found := in.examine()
	discreet(in.t, show(found))
	if !slices.ContainsFunc(found, func(g doctor.Finding) bool {
		return g.Check == f.check && g.Status == f.status && strings.Contains(g.About+": "+g.Text, f.text) && strings.Contains(g.Remedy, f.remedy)
	}) {
		in.t.Errorf("want %s: %q, remedy %q; found:\n%s", f.status, f.text, f.remedy, show(found))
	}
}

var faults = map[string]fault{
	"a key with a slip": {
		func(in *installation) { in.config["lisen"] = "x" }, "configuration", doctor.Fail, "lisen", "listen",
	},
	"a variable that is not set": {
		func(in *installation) {
			in.server("modern")["headers"] = map[string]any{"A": "${env:DOCTOR_LACKS_THIS}"}
		},
		"configuration", doctor.Fail, "needs the environment variable DOCTOR_LACKS_THIS, which is not set", "set it",
	},
	"a secret that is not there": {
		func(in *installation) { in.set([]any{"${file:gone.keys}"}, "seal", "keys") },
		"configuration", doctor.Fail, "gone.keys, which cannot be read: no such file", "",
	},
	"a file that is none": {
		func(in *installation) { in.o.File = in.dir }, "configuration", doctor.Fail, "not a regular file", "name a file",
	},
	"a secret that others can read": {
		func(in *installation) { in.write("api.key", apiKey, 0o644) }, "configuration", doctor.Warn, "everybody on this machine can read it (mode 0644)", "chmod 600",
	},
	"secrets in a configuration that others can read": {
		func(in *installation) {
			in.server("modern")["headers"] = map[string]any{"X-Team": "searchers", "Authorization": "Bearer " + serverKey}
			in.mode = 0o644
		}, "configuration", doctor.Warn,
		"everybody on this machine can read it (mode 0644), and it holds the value of cluster, mcpServers.modern.headers.Authorization", "${file:PATH}",
	},
	"secrets in the arguments of a server": {
		func(in *installation) {
			in.server("files")["args"] = []any{
				"--max-tokens", "4096", "--token-file", "/run/token", "--key", "./a.pem", "--token=" + serverKey, "--api-key", apiKey,
				"--header", "Authorization: Bearer " + serverKey, "postgres://me:" + password + "@db/x", "ghp_" + strings.Repeat("a1", 18),
			}
		}, "configuration", doctor.Warn, "server files: args[6], args[8], args[10], args[11] and 1 more: everybody on the machine sees", "under env of the server",
	},
	"a key in the address of a server": {
		func(in *installation) { in.server("modern")["url"] = in.modern.URL + "?api_key=" + serverKey },
		"configuration", doctor.Warn, "server modern: its url holds a key", "under headers of the server",
	},
	"a key in the path of the address of a server": {
		func(in *installation) {
			in.server("modern")["url"] = in.modern.URL + "/" + strings.Replace(apiKey, "tck_", "tck_Zx9", 1)
		},
		"configuration", doctor.Warn, "server modern: its url holds a key", "under headers of the server",
	},
	"a login in the address of a server": {
		func(in *installation) {
			in.server("modern")["url"] = strings.Replace(in.modern.URL, "://", "://me:"+password+"@", 1)
		},
		"configuration", doctor.Fail, "mcpServers.modern.url: holds a user or password", "under headers",
	},
	"a secret in a configuration that its group can read": {
		func(in *installation) {
			in.set([]any{map[string]any{"name": "ci", "key": apiKey, "groups": []any{"staff"}}}, "auth", "apiKeys")
			in.config["cluster"] = in.redis.URL()
			delete(in.server("modern"), "headers")
			in.mode = 0o640
		}, "configuration", doctor.Warn, "its group can read it (mode 0640), and it holds the value of auth.apiKeys[0].key", "chmod 600",
	},
	"a configuration without secrets": {
		func(in *installation) {
			in.config["cluster"], in.config["store"] = in.redis.URL(), "${file:"+in.write("store", in.database, 0o600)+"}"
			in.server("modern")["headers"] = map[string]any{"X-Team": "searchers", "X-Key": "${file:api.key}"}
			in.mode = 0o644
		}, "configuration", doctor.Pass, "3 servers", "",
	},
	"a lock file that is broken": {
		func(in *installation) { in.write("toolcrib.lock", "{", 0o600) }, "configuration", doctor.Fail, "launch.lock", "",
	},
	"an address that anybody reaches": {
		func(in *installation) {
			in.config["listen"] = "0.0.0.0:0"
			delete(in.config, "auth")
			delete(in.config, "policies")
		},
		"access", doctor.Fail, "nobody says who they are", "auth.anonymous: deny",
	},
	"credentials in the clear": {
		func(in *installation) {
			in.config["listen"], in.config["publicURL"] = "0.0.0.0:0", "http://tools.test"
			delete(in.config, "tls")
		}, "access", doctor.Warn, "publicURL: is http", "https://tools.test",
	},
	"a role that fits no tool": {
		func(in *installation) { in.set([]any{"modrn__*"}, "policies", "roles", "finder", "allow") },
		"policies", doctor.Warn, `"modrn__*" fits nothing`, "begin with",
	},
	"a group that nothing is given to": {
		func(in *installation) {
			in.set([]any{map[string]any{"name": "ci", "key": "${file:api.key}", "groups": []any{"staf"}}}, "auth", "apiKeys")
		}, "policies", doctor.Warn, `auth.apiKeys ci: is in the group "staf", which no binding names`, "policies.bindings",
	},
	"a group that waits in vain": {
		func(in *installation) {
			in.config["overload"] = map[string]any{"bulk": map[string]any{"tenants": []any{"nightly"}}}
		},
		"configuration", doctor.Warn, `"nightly" is no tenant that the configuration names`, "",
	},
	"a gateway that lost a server": {
		func(in *installation) {
			g := testenv.Serve(in.t, testenv.Config{Entries: map[string]any{
				"gone": map[string]any{"url": "http://" + testenv.Reserve(in.t) + "/mcp"}, "here": map[string]any{"url": in.modern.URL},
			}})
			in.o.File = g.File
			testenv.Eventually(in.t, "a degraded gateway", func() bool {
				_, text := g.Get("/health/ready", nil)
				return strings.Contains(text, "degraded")
			})
		}, "gateways", doctor.Warn, "is degraded: server gone: ", "toolcrib ps",
	},
	"a gateway that does not know the credential": {
		func(in *installation) {
			g := testenv.Serve(in.t, testenv.Config{
				Entries: map[string]any{"gone": map[string]any{"url": "http://" + testenv.Reserve(in.t) + "/mcp"}, "here": map[string]any{"url": in.modern.URL}},
				More:    map[string]any{"auth": map[string]any{"apiKeys": []any{map[string]any{"name": "ci", "key": apiKey}}}},
			})
			in.o.File = g.File
			in.o.Token = func(context.Context, string) (string, error) { return "wrong", nil }
			testenv.Eventually(in.t, "a degraded gateway", func() bool {
				_, text := g.Get("/health/ready", nil)
				return strings.Contains(text, "degraded")
			})
		}, "gateways", doctor.Warn, "is degraded, and refuses the credential", "correct TOOLCRIB_API_KEY",
	},
	"a change that is not in force": {
		func(in *installation) {
			g := testenv.Serve(in.t, testenv.One(in.modern))
			in.o.File = g.File
			g.Write([]byte(`{"stateDir": "` + g.StateDir + `", "mcpServers": 7}`))
			testenv.Eventually(in.t, "a configuration that is not applied", func() bool {
				_, text := g.Get("/health/ready", nil)
				return strings.Contains(text, "configuration: ")
			})
		}, "gateways", doctor.Warn, "is degraded: configuration: ", "mend what it names",
	},
	"two gateways with one state": {
		func(in *installation) {
			g := testenv.Serve(in.t, testenv.One(in.modern))
			testenv.ServeAt(in.t, testenv.One(in.modern), g.StateDir)
			in.o.File = g.File
		}, "gateways", doctor.Warn, "2 gateways run with it", "of its own",
	},
	"a gateway of another version": {
		func(in *installation) {
			in.o.File = testenv.Serve(in.t, testenv.One(in.modern)).File
			in.o.Dial.Version = "9.9"
		}, "gateways", doctor.Warn, "is toolcrib test, and this is 9.9", "restart it",
	},
	"a command that is not installed": {
		func(in *installation) { in.server("files")["command"] = "no-such-server" },
		"launchers", doctor.Fail, `server files: command "no-such-server" not found`, "install it",
	},
	"a command of another folder": {
		func(in *installation) {
			in.write("tools/server", "#!/bin/sh\n", 0o755)
			in.server("files")["command"] = "tools/server"
		}, "launchers", doctor.Fail, "/doctor/tools/server\" does not exist; it is looked for from the folder that the gateway is started in", "the full path",
	},
	"a command of this folder": {
		func(in *installation) {
			in.write("tools/server", "#!/bin/sh\n", 0o755)
			in.t.Chdir(in.dir)
			in.server("files")["command"] = "tools/server"
		}, "launchers", doctor.Pass, "1 command can be started", "",
	},
	"a working directory that is not there": {
		func(in *installation) { in.server("files")["cwd"] = "work" },
		"launchers", doctor.Fail, `working directory "work" does not exist`, "the full path",
	},
	"a package that was not pulled": {
		func(in *installation) {
			in.set(map[string]any{"package": "npx:some-server@1.0.0"}, "mcpServers", "npm")
		}, "launchers", doctor.Warn, "server npm: the package is not pulled", "run toolcrib pull",
	},
	"a Node that is too old": {
		func(in *installation) {
			in.write("bin/node", "#!/bin/sh\necho v14.21.3\n", 0o755)
			in.write("bin/npx", "#!/bin/sh\n", 0o755)
			in.t.Setenv("PATH", in.dir+"/bin:/usr/bin:/bin")
			in.set(map[string]any{"command": "npx", "args": []any{"-y", "x"}}, "mcpServers", "npm")
		}, "launchers", doctor.Warn, "node is of version 14.21, older than 18.0", "nodejs.org",
	},
	"a container engine that is not there": {
		func(in *installation) {
			in.write("bin/docker", "#!/bin/sh\necho 'Cannot connect to the Docker daemon at unix:///var/run/docker.sock.' >&2; exit 1\n", 0o755)
			in.t.Setenv("PATH", in.dir+"/bin:/usr/bin:/bin")
			in.set(map[string]any{"command": "docker", "args": []any{"run", "-i", "x"}}, "mcpServers", "box")
		}, "launchers", doctor.Fail, "Cannot connect to the Docker daemon", "start Docker",
	},
	"a command that was not approved": {
		func(in *installation) { in.config["launch"] = map[string]any{"approval": "required"} },
		"launchers", doctor.Fail, "will not be started", "toolcrib approve",
	},
	"a state directory that others write to": {
		func(in *installation) { _ = os.Chmod(in.state(), 0o777) }, "state", doctor.Fail, "others can put files there", "chmod go-w",
	},
	"a state directory that is a file": {
		func(in *installation) { in.config["stateDir"] = in.write("plain", "", 0o600) }, "state", doctor.Fail, "is not a folder", "stateDir",
	},
	"a state directory where nothing can be kept": {
		func(in *installation) { in.config["stateDir"] = "/proc/nope" }, "state", doctor.Fail,
		"/proc/nope: nothing can be kept there: it is of the kernel's own files", "set stateDir (TOOLCRIB_STATE_DIR) to a folder on a disk",
	},
	"a state directory in a file": {
		func(in *installation) { in.config["stateDir"] = filepath.Join(in.write("plain", "", 0o600), "x") }, "state", doctor.Fail,
		"plain/x: cannot be made: what it should lie in is a file", "set stateDir (TOOLCRIB_STATE_DIR) to another folder",
	},
	"gateways of a state directory in a file": {
		func(in *installation) { in.config["stateDir"] = filepath.Join(in.write("plain", "", 0o600), "x") }, "gateways", doctor.Unchecked,
		"the state directory is not a folder, which the check state tells", "",
	},
	"damaged quotas": {
		func(in *installation) { in.write("state/limits.json", `{"format":1,"quotas":[`, 0o600) },
		"state", doctor.Warn, "state/limits.json: is damaged: unexpected end of JSON input", "or remove it: quotas begin anew",
	},
	"quotas of another version": {
		func(in *installation) { in.write("state/limits.json", `{"format":7}`, 0o600) },
		"state", doctor.Warn, "state/limits.json: is damaged: it has the format 7", "or remove it",
	},
	"a damaged age of the key": {
		func(in *installation) { in.write("state/seal.seen", "\x00\x00", 0o600) }, "state", doctor.Warn, "state/seal.seen: is damaged", "remove it",
	},
	"a damaged key of the audit log": {
		func(in *installation) { in.write("state/audit/audit.key", "-----BEGIN", 0o600) },
		"state", doctor.Fail, "state/audit/audit.key: is damaged: audit.key is not an Ed25519 private key", "restore it from a copy",
	},
	"a damaged head of the audit log": {
		func(in *installation) { in.write("state/audit/audit.jsonl.head", "{", 0o600) },
		"state", doctor.Fail, "state/audit/audit.jsonl.head: is damaged", "or move it away: the log goes on",
	},
	"a damaged place of a sink": {
		func(in *installation) { in.write("state/audit/audit.jsonl.sink-syslog-0a1b2c3d", "{", 0o600) },
		"state", doctor.Warn, "sink-syslog-0a1b2c3d: is damaged", "remove it",
	},
	"a database that others read": {
		func(in *installation) { in.write("state/toolcrib.db", "", 0o644) }, "state", doctor.Fail, "others can read it (mode 0644)", "chmod 600",
	},
	"no room": {
		func(in *installation) { in.o.At(doctor.Elsewhere{Free: 1 << 20}) }, "state", doctor.Fail, "only 1Mi of 1024Gi are free", "make room",
	},
	"no room in what is small": {
		func(in *installation) { in.o.At(doctor.Elsewhere{Free: 4 << 10, Room: 256 << 10}) }, "state", doctor.Fail, "only 4Ki of 256Ki are free",
		"make room",
	},
	"keys of each replica's own": {
		func(in *installation) { delete(in.config, "seal") }, "seal", doctor.Fail, "each replica makes keys of its own", "set seal.keys",
	},
	"a key that is none": {
		func(in *installation) { in.write("seal.keys", "c2hvcnQ=", 0o600) }, "configuration", doctor.Fail, "seal.keys[0]: is not base64 of 32 bytes", "openssl rand",
	},
	"a key file that is damaged": {
		func(in *installation) {
			delete(in.config, "seal")
			delete(in.config, "cluster")
			in.write("state/seal.keys", "c2hvcnQ=", 0o600)
		}, "seal", doctor.Fail, "key is 5 bytes long", "restore it",
	},
	"a certificate that is over": {
		func(in *installation) {
			in.certify(&x509.Certificate{DNSNames: []string{"tools.test"}, NotAfter: time.Now().Add(-time.Second)})
		},
		"certificates", doctor.Fail, "the certificate of tools.test was good until", "renew it",
	},
	"a certificate that ends soon": {
		func(in *installation) {
			in.certify(&x509.Certificate{DNSNames: []string{"tools.test"}, NotAfter: time.Now().Add(50 * time.Hour)})
		},
		"certificates", doctor.Warn, "ends in 2 days", "renew it",
	},
	"a certificate for another name": {
		func(in *installation) {
			in.certify(&x509.Certificate{DNSNames: []string{"other.test"}, NotAfter: time.Now().Add(1000 * time.Hour)})
		},
		"certificates", doctor.Fail, "is not for tools.test", "publicURL",
	},
	"a server whose certificate ends soon": {
		func(in *installation) {
			in.set(map[string]any{"url": in.secure(20*time.Hour) + "/mcp"}, "mcpServers", "far")
		}, "certificates", doctor.Warn, "ends in 0 days", "renew it",
	},
	"a server whose certificate nobody saw": {
		func(in *installation) {
			in.set(map[string]any{"url": "https://" + testenv.Reserve(in.t) + "/mcp"}, "mcpServers", "far")
		}, "certificates", doctor.Unchecked, "its certificate was not seen", "",
	},
	"a server whose certificate is good": {
		func(in *installation) {
			delete(in.config, "tls")
			in.set(map[string]any{"url": in.secure(1000*time.Hour) + "/mcp"}, "mcpServers", "far")
		}, "certificates", doctor.Pass, "the certificate of far.test, until", "",
	},
	"a key of another certificate": {
		func(in *installation) {
			_, key := testenv.WriteCertificate(in.t, in.dir, "other", testenv.Certificate(in.t, &x509.Certificate{}, nil))
			in.set(key, "tls", "key")
		}, "certificates", doctor.Fail, "private key does not match", "belong together",
	},
	"a chain that lacks who signed": {
		func(in *installation) {
			ca := testenv.Certificate(in.t, &x509.Certificate{Subject: pkix.Name{CommonName: "inhouse CA"}, IsCA: true, BasicConstraintsValid: true}, nil)
			in.certifyBy(&x509.Certificate{DNSNames: []string{"tools.test"}, NotAfter: time.Now().Add(1000 * time.Hour)}, &ca)
		}, "certificates", doctor.Warn, "no certificate of who signed it", "append the certificate of inhouse CA",
	},
	"key of a certificate": {
		func(in *installation) {
			of, _ := in.config["tls"].(map[string]any)
			key, _ := of["key"].(string)
			if err := os.Chmod(key, 0o644); err != nil {
				in.t.Fatal(err)
			}
		}, "configuration", doctor.Warn, "everybody on this machine can read it (mode 0644)", "chmod 600",
	},
	"an authority that is over": {
		func(in *installation) {
			file, _ := testenv.WriteCertificate(in.t, in.dir, "ca", testenv.Certificate(in.t, &x509.Certificate{NotAfter: time.Now().Add(-time.Second)}, nil))
			in.set(file, "tls", "clientCA")
		}, "certificates", doctor.Fail, "tls.clientCA: the certificate was good until", "renew it",
	},
	"an issuer that is away": {
		func(in *installation) { in.issuer.Close() }, "issuers", doctor.Fail, "its metadata cannot be had", "see that it runs",
	},
	"an issuer that is another": {
		func(in *installation) {
			entry := in.issuer.Entry(nil)
			entry["issuer"] = strings.Replace(in.issuer.URL, "127.0.0.1", "localhost", 1)
			in.set([]any{entry}, "auth", "issuers")
		}, "issuers", doctor.Fail, "names the issuer", "exactly what its metadata name",
	},
	"an issuer whose clock is wrong": {
		func(in *installation) {
			in.issuer.Instead(func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Date", time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat))
				return false
			})
		}, "issuers", doctor.Fail, "behind this one, more than skew (30s) allows", "NTP",
	},
	"an issuer that signs otherwise": {
		func(in *installation) {
			in.set([]any{in.issuer.Entry(map[string]any{"algorithms": []any{"RS256"}})}, "auth", "issuers")
		}, "issuers", doctor.Fail, "none of its 1 key signs by [RS256]", "algorithms",
	},
	"a Redis that is away": {
		func(in *installation) { in.config["cluster"] = "redis://:" + password + "@" + testenv.Reserve(in.t) }, "redis", doctor.Fail, "connection refused", "start it, or correct cluster",
	},
	"a Redis that wants a password": {
		func(in *installation) { in.config["cluster"] = in.redis.URL() }, "redis", doctor.Fail, "NOAUTH", "redis://user:password@host",
	},
	"a Redis that wants another password": {
		func(in *installation) { in.config["cluster"] = "redis://:not-" + password + "@" + in.redis.Address() }, "redis", doctor.Fail, "WRONGPASS", "redis://user:password@host",
	},
	"a Redis that throws things away": {
		func(in *installation) {
			r := testenv.StartRedis(in.t, "--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru")
			in.config["cluster"] = r.URL()
		}, "redis", doctor.Warn, "throws things away when its memory is full (allkeys-lru)", "noeviction",
	},
	"a Redis that hangs": {
		func(in *installation) {
			r := testenv.StartRedis(in.t)
			r.Hang()
			in.config["cluster"], in.o.Timeout = r.URL(), time.Second
		}, "redis", doctor.Fail, "gives no answer in time", "--timeout",
	},
	"a Redis that is a replica": {
		func(in *installation) {
			r := testenv.StartRedis(in.t, "--replicaof", "127.0.0.1 1")
			in.config["cluster"] = r.URL()
		}, "redis", doctor.Fail, "takes no writes", "master",
	},
	"a Redis that is full": {
		func(in *installation) {
			r := testenv.StartRedis(in.t, "--maxmemory", "1", "--maxmemory-policy", "noeviction")
			in.config["cluster"] = r.URL()
		}, "redis", doctor.Fail, "took no write: OOM", "maxmemory",
	},
	"a replica with other keys": {
		func(in *installation) {
			r := testenv.StartRedis(in.t)
			in.config["cluster"] = r.URL()
			conf := testenv.One(in.modern)
			conf.More = map[string]any{"cluster": r.URL(), "seal": map[string]any{"keys": []any{base64.StdEncoding.EncodeToString([]byte("fedcba9876543210fedcba9876543210"))}}}
			testenv.Serve(in.t, conf)
			testenv.Eventually(in.t, "the replica says which keys it has", func() bool {
				found, err := redis.Inspect(in.t.Context(), v1.Secret(r.URL()))
				return err == nil && len(found.Kin) == 1
			})
		}, "redis", doctor.Warn, "and this one do not open what the other seals", "the same seal.keys",
	},
	"a database that is away": {
		func(in *installation) {
			in.config["store"] = "postgres://toolcrib:" + password + "@" + testenv.Reserve(in.t) + "/toolcrib"
		},
		"store", doctor.Fail, "connection refused", "correct store",
	},
	"a database with another password": {
		func(in *installation) {
			in.config["store"] = fmt.Sprintf("postgres://postgres:%s@127.0.0.1:%d/postgres", password, in.postgres.Port)
		}, "store", doctor.Fail, "password authentication failed", "correct store",
	},
	"a database of a newer toolcrib": {
		func(in *installation) {
			in.config["store"] = in.postgres.URL("newer")
			if err := in.postgres.Exec("postgres", "CREATE DATABASE newer"); err != nil {
				in.t.Fatal(err)
			}
			if err := in.postgres.Exec("newer", "CREATE TABLE toolcrib_schema (version INTEGER PRIMARY KEY); INSERT INTO toolcrib_schema VALUES (99)"); err != nil {
				in.t.Fatal(err)
			}
		}, "store", doctor.Fail, "its tables are of version 99", "run that one",
	},
	"a database that is damaged": {
		func(in *installation) {
			delete(in.config, "store")
			in.write("state/toolcrib.db", strings.Repeat("no database ", 1000), 0o600)
		}, "store", doctor.Fail, "not a database", "restore it",
	},
	"a database for each replica": {
		func(in *installation) { delete(in.config, "store") }, "store", doctor.Warn, "each replica knows only the keys", "PostgreSQL",
	},
	"a sink that is away": {
		func(in *installation) {
			in.set([]any{map[string]any{"webhook": "http://" + testenv.Reserve(in.t) + "/in"}}, "audit", "sinks")
		},
		"audit", doctor.Fail, "audit.sinks[0] webhook: http://127.0.0.1:", "correct the sink",
	},
	"a sink that does not answer": {
		func(in *installation) { in.set([]any{map[string]any{"syslog": "udp://127.0.0.1:9"}}, "audit", "sinks") },
		"audit", doctor.Unchecked, "audit.sinks[0] syslog: nobody answers over UDP", "",
	},
	"a sink without its table": {
		func(in *installation) {
			in.set([]any{map[string]any{"postgres": in.postgres.Database()}}, "audit", "sinks")
		},
		"audit", doctor.Pass, "is there; connected only: the first record makes its table", "",
	},
	"a sink that takes a record": {
		func(in *installation) { in.set([]any{map[string]any{"postgres": in.audited("")}}, "audit", "sinks") },
		"audit", doctor.Pass, "is there; written: a record was inserted, and rolled back", "",
	},
	"a sink whose table is another": {
		func(in *installation) {
			in.set([]any{map[string]any{"postgres": in.audited("ALTER TABLE toolcrib_audit DROP COLUMN record")}}, "audit", "sinks")
		}, "audit", doctor.Fail, `column "record" of relation "toolcrib_audit" does not exist`, "the right to insert",
	},
	"a SQLite sink that is not there yet": {
		func(in *installation) { in.set([]any{map[string]any{"sqlite": "new.db"}}, "audit", "sinks") },
		"audit", doctor.Pass, "may be written, and has room: the first record makes its table", "",
	},
	"a SQLite sink that is no database": {
		func(in *installation) {
			in.set([]any{map[string]any{"sqlite": in.write("torn.db", strings.Repeat("torn ", 1000), 0o600)}}, "audit", "sinks")
		}, "audit", doctor.Fail, "file is not a database", "name another file",
	},
	"a SQLite sink that takes a record": {
		func(in *installation) { in.set([]any{map[string]any{"sqlite": in.auditedFile("")}}, "audit", "sinks") },
		"audit", doctor.Pass, "written: a record was inserted, and rolled back", "",
	},
	"a SQLite sink whose table is another": {
		func(in *installation) {
			in.set([]any{map[string]any{"sqlite": in.auditedFile("ALTER TABLE toolcrib_audit DROP COLUMN record")}}, "audit", "sinks")
		}, "audit", doctor.Fail, "no column named record", "restore it from a copy",
	},
	"a sink that is only connected to": {
		func(in *installation) {
			in.set([]any{map[string]any{"webhook": answering(in.t, http.NotFound) + "/in"}}, "audit", "sinks")
		}, "audit", doctor.Pass, "is there; connected only: no record was sent", "",
	},
	"a sink that cannot be written": {
		func(in *installation) {
			in.set([]any{map[string]any{"file": in.write("plain", "", 0o600) + "/audit.jsonl"}}, "audit", "sinks")
		},
		"audit", doctor.Fail, "/plain/audit.jsonl cannot be written", "name another file",
	},
	"a sink among files of the kernel": {
		func(in *installation) {
			in.set([]any{map[string]any{"file": "/proc/self/audit.jsonl"}}, "audit", "sinks")
		},
		"audit", doctor.Fail, "/proc/self/audit.jsonl cannot be written: it is of the kernel's own files", "name another file",
	},
	"a collector that is away": {
		func(in *installation) { in.set("http://"+testenv.Reserve(in.t), "telemetry", "traces", "endpoint") },
		"telemetry", doctor.Fail, "cannot be reached", "start the collector",
	},
	"a collector of metrics that is away": {
		func(in *installation) {
			in.set(map[string]any{"endpoint": "http://" + testenv.Reserve(in.t)}, "telemetry", "metrics")
		},
		"telemetry", doctor.Fail, "telemetry.metrics: http://127.0.0.1:", "telemetry.metrics.endpoint",
	},
	"a web site in place of a collector": {
		func(in *installation) {
			in.set(map[string]any{"traces": map[string]any{"endpoint": answering(in.t, http.NotFound)}}, "telemetry")
		},
		"telemetry", doctor.Fail, "takes no traces: ", "see whether OTLP is spoken there",
	},
	"a web site in place of a collector of metrics": {
		func(in *installation) {
			in.set(map[string]any{"metrics": map[string]any{"endpoint": answering(in.t, http.NotFound)}}, "telemetry")
		},
		"telemetry", doctor.Fail, "takes no metrics: ", "see whether OTLP is spoken there",
	},
	"a collector by another protocol": {
		func(in *installation) {
			in.set(map[string]any{"traces": map[string]any{"endpoint": answering(in.t, http.NotFound), "protocol": "grpc"}}, "telemetry")
		},
		"telemetry", doctor.Fail, "takes no traces: ", "by the protocol",
	},
	"a collector of metrics by another protocol": {
		func(in *installation) {
			there := answering(in.t, func(http.ResponseWriter, *http.Request) {}) // takes all over HTTP
			in.set(map[string]any{"metrics": map[string]any{"endpoint": there, "protocol": "grpc"}}, "telemetry")
		},
		"telemetry", doctor.Fail, "takes no metrics: ", "by the protocol",
	},
	"a clock that is wrong": {
		func(in *installation) { in.o.At(doctor.Elsewhere{Now: time.Unix(0, 0)}) }, "clock", doctor.Fail, "it is 1970-01-01T00:00:00Z here", "NTP",
	},
	"too few files": {
		func(in *installation) { in.o.At(doctor.Elsewhere{OpenFiles: 128}) }, "limits", doctor.Fail, "only 128 files may be open", "LimitNOFILE",
	},
	"few files": {
		func(in *installation) { in.o.At(doctor.Elsewhere{OpenFiles: 1024}) }, "limits", doctor.Warn, "no more than 512 calls", "LimitNOFILE",
	},
	"too little memory": {
		func(in *installation) { in.group("memory.max", "33554432") }, "limits", doctor.Fail, "32Mi is less than the program needs", "256Mi",
	},
	"a bound of memory beyond what there is": {
		func(in *installation) {
			in.group("memory.max", "536870912")
			in.config["overload"] = map[string]any{"memory": "2Gi"}
		}, "limits", doctor.Fail, "overload.memory: is 2Gi, and the process has only 512Mi", "80%",
	},
	"more requests than memory": {
		func(in *installation) {
			in.group("memory.max", "536870912")
			in.config["overload"] = map[string]any{"concurrency": 100000}
		}, "limits", doctor.Warn, "is 100000, for which the 512Mi of memory are too little; 8192 would do", "lower it",
	},
	"a server that may have all memory": {
		func(in *installation) {
			in.group("memory.max", "536870912")
			in.server("files")["resources"] = map[string]any{"memory": "1Gi"}
		}, "limits", doctor.Warn, "mcpServers.files.resources.memory: is 1Gi", "raise the limit of the container",
	},
	"too little of a CPU": {
		func(in *installation) { in.group("cpu.max", "10000 100000") }, "limits", doctor.Warn, "0.1 CPUs are too few", "half a CPU",
	},
	"too few processes": {
		func(in *installation) {
			in.group("pids.max", "40")
			in.server("files")["pool"] = map[string]any{"min": 4, "max": 8}
		}, "limits", doctor.Warn, "40 processes and threads are allowed, and 4 instances and the gateway need about 80", "raise it",
	},
	"a pod that is killed too early": {
		func(in *installation) {
			in.config["drainDelay"] = "5s"
			in.o.Manifests = in.write("deploy/toolcrib.yaml", manifest, 0o600)
		}, "shutdown", doctor.Fail, "30s until the pod is killed, but drainDelay and drainTimeout take 35s", "terminationGracePeriodSeconds to 40",
	},
	"balancers that are not told": {
		func(in *installation) { in.config["listen"], in.config["drainDelay"] = "0.0.0.0:0", "0s" }, "shutdown", doctor.Warn, "drainDelay: is 0s", "write 5s",
	},
	"a port that another has": {
		func(in *installation) { in.config["listen"] = occupied(in.t) }, "listen", doctor.Fail, "is taken by process ", "set listen",
	},
	"an address of another machine": {
		func(in *installation) { in.config["listen"] = "192.0.2.1:8080" }, "listen", doctor.Fail, "is no address of this machine", "0.0.0.0:8080",
	},
	"a server that does not run": {
		func(in *installation) { in.server("modern")["url"] = "http://" + testenv.Reserve(in.t) + "/mcp" },
		"servers", doctor.Fail, "server modern: cannot be reached at its url", "start it, or correct mcpServers.modern.url",
	},
	"a server that ends": {
		func(in *installation) { in.set(map[string]any{"command": "/bin/false"}, "mcpServers", "files") },
		"servers", doctor.Fail, "server files: process ended: exit status 1", "by hand",
	},
	"a server that tells the secret it got": {
		func(in *installation) {
			in.server("modern")["headers"] = map[string]any{"Authorization": "Bearer " + serverKey}
			in.server("modern")["url"] = testenv.HTTPServer(in.t, testenv.Script{Tools: testenv.Tools(1), On: map[string]func(*testenv.Call){
				"tools/list": func(c *testenv.Call) { c.Error(-32603, "no such key: "+serverKey) },
			}}).URL
		}, "servers", doctor.Fail, "no such key: ***", "",
	},
	"a server that says why it ends": {
		func(in *installation) {
			script := in.write("bin/server", "#!/bin/sh\necho 'no disk; run away' >&2; exit 3\n", 0o755)
			in.set(map[string]any{"command": script}, "mcpServers", "files")
		},
		"servers", doctor.Fail, "exit status 3; last stderr: no disk; run away", "run its command by hand, and correct mcpServers.files",
	},
	"a path that is none": {
		func(in *installation) { in.server("modern")["url"] = answering(in.t, http.NotFound) + "/mcp" },
		"servers", doctor.Fail, "server modern: answers HTTP 404", "check that url is the MCP endpoint",
	},
}

// audited is a database with the table of the audit log, as a statement leaves it.
func (in *installation) audited(change string) string {
	in.t.Helper()
	name := fmt.Sprintf("audited%d", time.Now().UnixNano())
	text, err := filepath.Glob("../audit/migrations/*.sql")
	if err == nil {
		err = in.postgres.Exec("postgres", "CREATE DATABASE "+name)
	}
	for _, file := range text {
		var sql []byte
		if sql, err = os.ReadFile(file); err == nil {
			err = in.postgres.Exec(name, string(sql))
		}
	}
	if err == nil && change != "" {
		err = in.postgres.Exec(name, change)
	}
	if err != nil {
		in.t.Fatal(err)
	}
	return in.postgres.URL(name)
}

// auditedFile is a SQLite file with the table of the audit log, as a statement leaves it.
func (in *installation) auditedFile(change string) string {
	in.t.Helper()
	file := in.write("audited.db", "", 0o600)
	db, err := sql.Open("sqlite", file)
	if err != nil {
		in.t.Fatal(err)
	}
	defer db.Close()
	text, err := os.ReadFile("../audit/migrations/0001_records.sql")
	if err == nil {
		_, err = db.ExecContext(in.t.Context(), string(text)+change)
	}
	if err != nil {
		in.t.Fatal(err)
	}
	return file
}

// manifest is a workload without anything that production needs.
const manifest = `apiVersion: apps/v1
kind: Deployment
metadata: {name: gateway}
spec:
  template:
    metadata: {labels: {app: gateway}}
    spec:
      containers:
      - {name: main, image: ghcr.io/toolcrib/toolcrib:1}
`

// certify gives the gateway another certificate.
func (in *installation) certify(c *x509.Certificate) { in.certifyBy(c, nil) }

func (in *installation) certifyBy(c *x509.Certificate, by *tls.Certificate) {
	in.t.Helper()
	testenv.WriteCertificate(in.t, in.dir, "tools", testenv.Certificate(in.t, c, by))
}

// secure is the URL of what has a certificate that is good for a while, of an authority that nobody knows.
func (in *installation) secure(left time.Duration) string {
	in.t.Helper()
	s := httptest.NewUnstartedServer(http.NotFoundHandler())
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{
		testenv.Certificate(in.t, &x509.Certificate{DNSNames: []string{"far.test"}, NotAfter: time.Now().Add(left)}, nil),
	}}
	s.StartTLS()
	in.t.Cleanup(s.Close)
	return s.URL
}

// group has the process be in a control group with a limit.
func (in *installation) group(file, limit string) {
	in.t.Helper()
	in.write("root/proc/self/cgroup", "0::/\n", 0o600)
	in.write("root/proc/meminfo", "MemTotal: 16000000 kB\n", 0o600)
	in.write("root/sys/fs/cgroup/"+file, limit+"\n", 0o600)
	in.o.At(doctor.Elsewhere{Root: in.dir + "/root"})
}

// occupied is an address that this process listens on.
func occupied(t *testing.T) string {
	t.Helper()
	ln, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	return ln.Addr().String()
}

// answering is the URL of what answers by f.
func answering(t *testing.T, f http.HandlerFunc) string {
	t.Helper()
	s := httptest.NewServer(f)
	t.Cleanup(s.Close)
	return s.URL
}

// TestArguments has secrets in the arguments of a server that says them be hidden, and warned of where they look like secrets. What
// people need to see stays.
func TestArguments(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		args   []string
		hidden []string
		shown  []string
		warned string // the place
	}{
		{args: []string{"--dsn=postgres://u:qwSECRETertyui6@h/db"}, hidden: []string{"qwSECRET"}, warned: "args[0]"},
		{args: []string{"--dsn", "postgres://u:qw#SECRETertyui6@h/db"}, hidden: []string{"SECRET"}, warned: "args[1]"},
		{args: []string{`{"db": "postgres://reader:quietly-now@h/db"}`}, hidden: []string{"quietly"}, shown: []string{"reader"}, warned: "args[0]"},
		{args: []string{"--key", "qwSECRETertyuiop123"}, hidden: []string{"qwSECRET"}, warned: "args[1]"},
		{args: []string{"-p", "qwSECRETertyuiop124"}, hidden: []string{"qwSECRET"}, warned: "args[1]"},
		{args: []string{"-pqwSECRETertyuiop124"}, hidden: []string{"qwSECRET"}},
		{args: []string{"--password=/qwSECRETertyuiop125+=="}, hidden: []string{"qwSECRET"}, warned: "args[0]"},
		{args: []string{"--password", "hunterbee"}, hidden: []string{"hunterbee"}},
		{args: []string{"--password", "-hunterBEE9x"}, hidden: []string{"BEE9"}},
		{args: []string{"--env=API_TOKEN=qwertyuiop"}, hidden: []string{"qwertyuiop"}},
		{args: []string{"mysql://qwSECRETuser77:pw@h"}, hidden: []string{"qwSECRET"}},
		{args: []string{"https://quietly-now@h/x"}, hidden: []string{"quietly"}, warned: "args[0]"},
		{args: []string{"https://h.test/x?api_key=quietly-now"}, hidden: []string{"quietly"}, warned: "args[0]"},
		{args: []string{"-c", "export DB_PASSWORD=quietly-now; run"}, hidden: []string{"quietly"}, shown: []string{"export DB_PASSWORD"}, warned: "args[1]"},
		{args: []string{"--seed", "a1b2c3d4e5f6a7b8"}, hidden: []string{"a1b2c3"}},
		{args: []string{"--header", "Authorization: Bearer quietly-now"}, hidden: []string{"quietly"}, warned: "args[1]"},
		{
			args: []string{
				"-y", "@scope/server-files@1.2.3-rc1", "--root", "/srv/Data9x/a", "--mode=readOnly", "./dist/x.mjs", "-p", "127.0.0.1:8080", "--level=WARNING",
				"https://docs.test/mcp", "https://docs.test/@scope/x", "--max-tokens", "4096",
			},
			shown: []string{"@scope/server-files@1.2.3-rc1 --root /srv/Data9x/a --mode=readOnly ./dist/x.mjs -p", "--level=WARNING https://docs.test/mcp https://docs.test/@scope/x"},
		},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			t.Parallel()
			in := &installation{t: t, dir: t.TempDir()}
			script := in.write("bin/server", "#!/bin/sh\necho \"$@\" >&2; exit 3\n", 0o755)
			in.config = map[string]any{"stateDir": in.dir, "mcpServers": map[string]any{"files": map[string]any{"command": script, "args": tt.args}}}
			self, err := os.Executable()
			if err != nil {
				t.Fatal(err)
			}
			in.o = doctor.Options{
				File: in.dir + "/toolcrib.json", Only: []string{"configuration", "servers"},
				Dial: app.DialOptions{Guard: []string{self, "guard"}, Confine: []string{self, "confine"}, Version: "test"},
			}
			text := show(in.examine())
			if !strings.Contains(text, "last stderr: ") {
				t.Errorf("not what the server says:\n%s", text)
			}
			for _, secret := range tt.hidden {
				if strings.Contains(text, secret) {
					t.Errorf("%q is shown:\n%s", secret, text)
				}
			}
			for _, want := range tt.shown {
				if !strings.Contains(text, want) {
					t.Errorf("%q is not shown:\n%s", want, text)
				}
			}
			if warned := strings.Contains(text, "server files | "+tt.warned+": everybody on the machine sees"); warned != (tt.warned != "") {
				t.Errorf("warned of %q: %v:\n%s", tt.warned, warned, text)
			}
		})
	}
}

// TestTold: of a message that other parts of the program make, what is no advice is not taken for it.
func TestTold(t *testing.T) {
	t.Parallel()
	for message, remedy := range map[string]string{
		"is silent; raise timeouts.start": "raise timeouts.start",
		"connection broke in mid-call; the call may have been carried out: response head: EOF":     "otherwise",
		"the session ended (of itself); it may have been carried out":                              "otherwise",
		"the session ended; it may have been carried out; see that its process does not end early": "see that its process does not end early",
	} {
		f := doctor.Told(message, "otherwise")
		if text := strings.TrimSuffix(message, "; "+remedy); f.Remedy != remedy || f.Text != text {
			t.Errorf("%q became %+v", message, f)
		}
	}
}
