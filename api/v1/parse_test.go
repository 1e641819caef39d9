package v1_test

import (
	"encoding/json"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// options are the surroundings of every fixture.
func options() v1.Options {
	env := map[string]string{
		"HOME": "/home/ann", "TOKEN": "sekrit-token", "GITHUB_TOKEN": "sekrit-github", "EMPTY": "",
		"CI_KEY": "sekrit-ci-key-0123456789", "DOLLAR": "$",
	}
	files := map[string]string{
		"/etc/fixtures/policies/a.cedar": "permit(principal, action, resource);\n",
		"/etc/fixtures/policies/b.cedar": "forbid(principal, action, resource);\n",
		"/etc/fixtures/next.yaml":        "bindings: [{role: user, everyone: true}]\ncedar: [policies/b.cedar]\n",
		"/etc/fixtures/wrong.yaml":       "shadow: next.yaml\nbindings:\n- {role: nobody, group: staff}\ncedar: [c.cedar]\nroels: {}\n",
		"/etc/fixtures/later.yaml":       "# nothing yet\n",
		"/etc/fixtures/token":            "\n  sekrit-from-a-file \n",
		"/etc/fixtures/seal.keys":        "# newest first\nAAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n\nHx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA= \n# old\n",
	}
	return v1.Options{
		Dir: "/etc/fixtures",
		Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
		ReadFile: func(name string) ([]byte, error) {
			if data, ok := files[name]; ok {
				return []byte(data), nil
			}
			return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
		},
		Glob: func(pattern string) (names []string, err error) {
			for name := range files {
				if ok, err := filepath.Match(pattern, name); err != nil {
					return nil, err
				} else if ok {
					names = append(names, name)
				}
			}
			return names, nil
		},
	}
}

// fixtures calls f with each file of a folder of testdata and with the path of
// its golden file.
func fixtures(t *testing.T, folder, ext string, f func(t *testing.T, data []byte) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Ext(file) == ext {
			continue
		}
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			golden(t, file+ext, f(t, data))
		})
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got), -update writes it anew:\n%s", file, diff)
	}
}

// A file that is read while it is written, or that was emptied, has no policies to compare with.
func TestEmptyShadowIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "comments": "# later\n\n", "byte order mark": "\ufeff", "marker": "---\n", "null": "null\n", "object": "{}\n",
	} {
		t.Run(name, func(t *testing.T) {
			o := options()
			o.ReadFile = func(string) ([]byte, error) { return []byte(text), nil }
			c, problems := v1.Parse([]byte("mcpServers: {}\npolicies:\n  shadow: next.yaml\n"), o)
			const want = "line 3: policies.shadow: next.yaml: the file is empty: write roles, bindings or cedar into it, or remove policies.shadow"
			if got := problems.Error(); c != nil || got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	}
}

func TestGoodFiles(t *testing.T) {
	fixtures(t, "good", ".golden", func(t *testing.T, data []byte) string {
		c, problems := v1.Parse(data, options())
		if len(problems) > 0 {
			t.Fatalf("problems:\n%v", problems)
		}
		if again := c.Validate(); len(again) > 0 {
			t.Errorf("Validate after Parse:\n%v", again)
		}
		text, err := json.MarshalIndent(c, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		out := string(text) + "\n"
		for _, w := range c.Warnings {
			out += "warning: " + w + "\n"
		}
		for p := &c.Policies; p != nil; p = p.Next {
			for _, file := range p.Files {
				out += fmt.Sprintf("policies of %s: %s", file.Name, file.Text)
			}
		}
		for _, name := range c.ServerNames() {
			out += fmt.Sprintf("prefix of %q: %q\n", name, c.PrefixOf(name))
		}
		return out
	})
}

func TestBadFiles(t *testing.T) {
	fixtures(t, "bad", ".err", func(t *testing.T, data []byte) string {
		opts := options()
		opts.JSON = strings.HasSuffix(t.Name(), ".json")
		c, problems := v1.Parse(data, opts)
		if c != nil || len(problems) == 0 {
			t.Fatal("no problem found")
		}
		if text := problems.Error(); strings.Contains(text, "sekrit") {
			t.Errorf("a secret is shown:\n%s", text)
		}
		return problems.Error() + "\n"
	})
}

// parse parses text in the surroundings of the fixtures with further variables.
func parse(text string, env ...string) (*v1.Config, v1.Problems) {
	opts := options()
	base := opts.Env
	opts.Env = func(name string) (string, bool) {
		for i := 0; i < len(env); i += 2 {
			if env[i] == name {
				return env[i+1], true
			}
		}
		return base(name)
	}
	return v1.Parse([]byte(text), opts)
}

func TestEnvironmentOverrides(t *testing.T) {
	c, problems := parse("listen: 127.0.0.1:1\nlog: {level: debug}\n",
		"TOOLCRIB_LISTEN", "127.0.0.1:2", "TOOLCRIB_PUBLIC_URL", "https://a.example", "TOOLCRIB_STATE_DIR", "~/state",
		"TOOLCRIB_DRAIN_TIMEOUT", "1m", "TOOLCRIB_DRAIN_DELAY", "2s", "LOG_LEVEL", "ERROR", "TOOLCRIB_LOG_FORMAT", "json",
		"TOOLCRIB_MESSAGES_MAX_BYTES", "2Mi", "PORT", "99")
	if problems != nil {
		t.Fatal(problems)
	}
	want := v1.New()
	want.Warnings = []string{"mcpServers: holds no server, so that clients find nothing"}
	want.Listen, want.PublicURL, want.StateDir = "127.0.0.1:2", "https://a.example", "/home/ann/state"
	want.Launch.Lock = "/etc/fixtures/toolcrib.lock"
	want.DrainDelay = new(v1.Duration(2e9))
	want.DrainTimeout, want.Log, want.Messages.MaxBytes = v1.Duration(60e9), v1.Log{Level: "error", Principals: "hash", Format: "json"}, 2<<20
	if diff := cmp.Diff(want, c); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if c, _ := parse("mcpServers: {}", "LOG_LEVEL", "debug", "TOOLCRIB_LOG_LEVEL", "warn"); c.Log.Level != "warn" {
		t.Errorf("level %q; TOOLCRIB_LOG_LEVEL stands over LOG_LEVEL", c.Log.Level)
	}
	if c, _ := parse("listen: 127.0.0.1:1", "TOOLCRIB_LISTEN", ""); c.Listen != "127.0.0.1:1" {
		t.Errorf("listen %q; an empty variable counts as unset", c.Listen)
	}
}

func TestBadEnvironmentOverrides(t *testing.T) {
	_, problems := parse("listen: 127.0.0.1:1", "TOOLCRIB_LISTEN", "nonsense", "TOOLCRIB_DRAIN_TIMEOUT", "5", "TOOLCRIB_DRAIN_DELAY", "x", "LOG_LEVEL", "loud")
	want := `drainDelay: "x" is not a duration; write a number with a unit, like "30s", "5m", "1h30m" or "1d" (set by TOOLCRIB_DRAIN_DELAY)
drainTimeout: "5" is not a duration; write a number with a unit, like "30s", "5m", "1h30m" or "1d" (set by TOOLCRIB_DRAIN_TIMEOUT)
listen: "nonsense" is not host:port; write 127.0.0.1:8080, for example (set by TOOLCRIB_LISTEN)
log.level: "loud" is not one of debug, info, warn, error (set by LOG_LEVEL)`
	if diff := cmp.Diff(want, problems.Error()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestFileReferences(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, size int) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.Repeat("x", size)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("most", 1<<20)
	write("more", 1<<20+1)
	text := func(name string) string { return `mcpServers: {a: {command: "${file:` + name + `}"}}` }
	c, problems := v1.Parse([]byte(text("most")), v1.Options{Dir: dir})
	if problems != nil || len(c.MCPServers["a"].Command) != 1<<20 {
		t.Errorf("1 MiB: %v", problems)
	}
	for name, want := range map[string]string{
		"more":      "larger than 1Mi",
		".":         "not a regular file",
		"/dev/zero": "not a regular file",
		"missing":   "no such file",
	} {
		_, problems := v1.Parse([]byte(text(name)), v1.Options{Dir: dir})
		if len(problems) != 1 || !strings.Contains(problems[0].Message, want) {
			t.Errorf("%s: got %v, want %q", name, problems, want)
		}
	}
}

// TestEditorVariables has variables of editors that the environment may fill.
func TestEditorVariables(t *testing.T) {
	const text = `mcpServers: {a: {command: "${workspaceFolder}", args: ["${userHome}/x", "${cwd:-here}"]}}`
	c, problems := parse(text, "workspaceFolder", "/work")
	if problems != nil || c.MCPServers["a"].Command != "/work" {
		t.Fatalf("a variable that is set: %+v, %v", c, problems)
	}
	if diff := cmp.Diff([]string{"/home/ann/x", "here"}, c.MCPServers["a"].Args); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestBounds(t *testing.T) {
	many := func(n int) string {
		var b strings.Builder
		b.WriteString("mcpServers:\n")
		for i := range n {
			fmt.Fprintf(&b, "  s%04d: {command: x}\n", i)
		}
		return b.String()
	}
	if _, problems := parse(many(v1.MaxServers)); problems != nil {
		t.Errorf("1,000 servers: %v", problems)
	}
	if _, problems := parse(many(v1.MaxServers + 1)); len(problems) != 1 || !strings.Contains(problems[0].Message, "at most 1000") {
		t.Errorf("1,001 servers: %v", problems)
	}
	if _, problems := parse(strings.Repeat("#", v1.MaxFile+1)); len(problems) != 1 {
		t.Errorf("a large file: %v", problems)
	}
	var wrong strings.Builder
	for i := range 500 {
		fmt.Fprintf(&wrong, "wrong%d: 1\n", i)
	}
	_, problems := parse(wrong.String())
	if n := len(problems); n != 101 || problems[n-1].Message != "and 400 more problems" {
		t.Errorf("%d problems, last %v", n, problems[n-1])
	}
}

// TestAliasBomb has aliases that would resolve to billions of values.
func TestAliasBomb(t *testing.T) {
	var b strings.Builder
	b.WriteString("mcpServers:\n  a:\n    command: x\n    args: &args [" + strings.Repeat("x, ", 1000) + "]\n")
	for i := range 900 {
		fmt.Fprintf(&b, "  s%d: {command: x, args: *args}\n", i)
	}
	if _, problems := parse(b.String()); len(problems) != 1 || !strings.Contains(problems[0].Message, "more than 200000 values") {
		t.Errorf("aliases: %v", problems)
	}
	merges := "mcpServers:\n  a0: &a0 {command: x}\n"
	for i := 1; i < 12; i++ {
		merges += fmt.Sprintf("  a%d: &a%d\n    <<: [*a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d, *a%d]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	if _, problems := parse(merges); len(problems) == 0 || len(problems) > 20 {
		t.Errorf("nested merges: %d problems", len(problems))
	}
}

func TestSpellings(t *testing.T) {
	for spelling, want := range map[string]string{
		"http": "http", "HTTP": "http", "streamable-http": "http", "streamable_http": "http", "streamableHttp": "http",
		"streamableHTTP": "http", "StreamableHttp": "http", "sse": "sse", "SSE": "sse",
	} {
		for _, key := range []string{"type", "transport", "transportType"} {
			c, problems := parse("mcpServers: {a: {url: 'https://a.example', " + key + ": " + spelling + "}}")
			if problems != nil || c.MCPServers["a"].Type != want {
				t.Errorf("%s: %s: %v, %v", key, spelling, c, problems)
			}
		}
	}
	for spelling, want := range map[string]string{"WARNING": "warn", "Info": "info"} {
		if c, problems := parse("log: {level: " + spelling + "}"); problems != nil || c.Log.Level != want {
			t.Errorf("level %s: %v", spelling, problems)
		}
	}
}

// The state directory is found in a file with problems elsewhere, as with variables that are not set.
func TestStateDirAlone(t *testing.T) {
	env := func(string) (string, bool) { return "", false }
	text := "stateDir: /state\nnonsense: 1\nmcpServers: {a: {command: x, env: {KEY: '${NOT_SET}'}}}\n"
	if dir, problems := v1.StateDir([]byte(text), v1.Options{Env: env}); dir != "/state" || problems != nil {
		t.Errorf("got %q, %v", dir, problems)
	}
	for _, text := range []string{"stateDir: ${NOT_SET}", "stateDir: [a]", "stateDir: {"} {
		if dir, problems := v1.StateDir([]byte(text), v1.Options{Env: env}); dir != "" || len(problems) != 1 {
			t.Errorf("%s: got %q, %v", text, dir, problems)
		}
	}
}

func TestStateDir(t *testing.T) {
	for _, test := range []struct {
		env  []string
		want string
	}{
		{nil, "/home/ann/.local/state/toolcrib"},
		{[]string{"XDG_STATE_HOME", "/xdg"}, "/xdg/toolcrib"},
		{[]string{"XDG_STATE_HOME", "relative"}, "/home/ann/.local/state/toolcrib"},
		{[]string{"HOME", ""}, filepath.Join(os.TempDir(), fmt.Sprintf("toolcrib-%d", os.Getuid()))},
	} {
		if c, problems := parse("mcpServers: {}", test.env...); problems != nil || c.StateDir != test.want {
			t.Errorf("%v: %q, %v, want %q", test.env, c.StateDir, problems, test.want)
		}
	}
}
