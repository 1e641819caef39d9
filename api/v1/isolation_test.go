package v1_test

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// TestIsolationOf: what is left out is derived, and so is the most instances that there may be.
func TestIsolationOf(t *testing.T) {
	data, err := os.ReadFile("testdata/good/isolation.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, problems := v1.Parse(data, options())
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	type is struct {
		isolation, personal string
		max                 int
	}
	got := map[string]is{}
	for name, s := range c.MCPServers {
		got[name] = is{c.IsolationOf(name), s.Personal(), c.PoolOf(name).Max}
	}
	want := map[string]is{
		"mine": {"principal", "principal", 20}, "ours": {"tenant", "tenant", 20}, "all": {"shared", "", 2}, "plain": {"principal", "", 30},
		"session": {"session", "principal", 3}, "remote": {"", "", 1000},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(is{})); diff != "" {
		t.Error(diff)
	}
	told, problems := parse(`mcpServers: {a: {url: "http://x", identity: {}}, b: {url: "http://x", identity: {}, isolation: tenant},
  c: {url: "http://x", forwardToken: true}, d: {url: "http://x", forwardToken: true, isolation: shared}, e: {command: x, identity: {meta: true}, isolation: session}}`)
	for name, want := range map[string][2]string{"a": {"", ""}, "b": {"tenant", "tenant"}, "c": {"principal", "principal"}, "d": {"", ""}, "e": {"session", "principal"}} {
		if isolation, personal := told.IsolationOf(name), told.PersonalOf(name); [2]string{isolation, personal} != want {
			t.Errorf("%s: %s, %s, %v", name, isolation, personal, problems)
		}
	}
	open, problems := parse("mcpServers: {a: {command: x}, b: {command: x, cwd: '${principal.tenant}'}}")
	if open.IsolationOf("a") != "shared" || open.PoolOf("a").Max != 1 || open.IsolationOf("b") != "tenant" || open.IsolationOf("c") != "" {
		t.Errorf("without keys: %q, %d, %q, %v", open.IsolationOf("a"), open.PoolOf("a").Max, open.IsolationOf("b"), problems)
	}
}

// TestTooManyServers: what cannot all be started is told when the file is read.
func TestTooManyServers(t *testing.T) {
	for most, warned := range map[string]bool{"6": true, "7": false} {
		c, problems := parse(`mcpServers: {a: {command: x, pool: {min: 2, max: 3}}, b: {command: x, isolation: principal, pool: {spares: 3}},
  c: {command: x, cwd: "${principal.tenant}"}, d: {command: x}, e: {command: x, disabled: true}, f: {url: "http://x"}}
runner: {maxInstances: ` + most + "}")
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		if got := strings.Join(c.Warnings, "\n"); strings.Contains(got, "runner.maxInstances: is 6, but the servers have 7 processes") != warned {
			t.Errorf("%s: %q", most, got)
		}
	}
}

var ann = &v1.Caller{Subject: "ann", Tenant: "acme", Credential: func(name string) (v1.Secret, bool) {
	return "sekrit-${principal.subject}", name == "github"
}}

// TestFor: what refers to the caller is replaced, once, and what only looks so is not.
func TestFor(t *testing.T) {
	c, problems := parse(`mcpServers: {a: {command: x, args: ["${principal.subject}", "-u${principal.subject}/${principal.tenant}!", "$${principal.subject}",
  "${ODD}", "$${x}"], env: {T: "Bearer ${credential:github}.${principal.tenant}"}, cwd: "/d/${principal.tenant}"}}
auth: {apiKeys: [{name: ann, key: "${CI_KEY}", credentials: {github: x}}]}`, "ODD", "$${principal.subject} ${credential:github}")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s := c.MCPServers["a"]
	before := strings.Join(s.Args, " ")
	got, err := s.For(ann)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"ann", "-uann/acme!", "${principal.subject}", "$${principal.subject} ${credential:github}", "${x}"}
	if diff := cmp.Diff(want, got.Args); diff != "" {
		t.Error(diff)
	}
	if got.Env["T"] != "Bearer sekrit-${principal.subject}.acme" || got.Cwd != "/d/acme" {
		t.Errorf("env %q, cwd %q", got.Env["T"], got.Cwd)
	}
	if after := strings.Join(s.Args, " "); after != before || s.Env["T"] == got.Env["T"] {
		t.Errorf("the server itself was changed: %q", after)
	}
}

// TestForRefuses: a name cannot lead to another caller's folder, pass for an option or be missing.
func TestForRefuses(t *testing.T) {
	path := &v1.Server{Command: "x", Cwd: "/d/${principal.subject}"}
	arg := &v1.Server{Command: "x", Args: []string{"${principal.subject}"}}
	inner := &v1.Server{Command: "x", Args: []string{"--user=${principal.subject}"}}
	env := &v1.Server{Command: "x", Env: map[string]string{"A": "${principal.subject}"}}
	secret := &v1.Server{Command: "x", Env: map[string]string{"A": "${credential:other}"}}
	as := func(name string) *v1.Caller { return &v1.Caller{Subject: name, Tenant: "t"} }
	for name, tt := range map[string]struct {
		s    *v1.Server
		who  *v1.Caller
		want string
	}{
		"nobody":         {path, nil, "cwd: ${principal.subject} stands for the caller, but this instance is for nobody in particular"},
		"empty":          {path, as(""), "cannot be part of a path"},
		"this folder":    {path, as("."), "cannot be part of a path"},
		"folder above":   {path, as(".."), "cannot be part of a path"},
		"slash":          {path, as("../bob"), "cannot be part of a path"},
		"NUL":            {path, as("a\x00b"), "cannot be part of a path"},
		"line break":     {arg, as("a\nb"), "args[0]: what ${principal.subject} stands for"},
		"option":         {arg, as("-rf"), "option; give the caller another one at auth.apiKeys[].name"},
		"option's value": {inner, as("-rf"), "option"},
		"slash in arg":   {inner, as("a/b"), "cannot be part of a path"},
		"NUL in env":     {env, as("a\x00"), "env.A"},
		"no credential":  {secret, ann, `env.A: the caller has no credential "other"; give it one under auth.apiKeys[].credentials`},
		"no credentials": {secret, as("x"), `has no credential "other"`},
	} {
		if got, err := tt.s.For(tt.who); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %+v, %v; want %q", name, got, err, tt.want)
		}
	}
	for name, s := range map[string]*v1.Server{"x-": inner, "..": env, "a/b": env} {
		if _, err := s.For(as(name)); err != nil {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestReadableCredentials: who could read the credentials of callers is named, and nobody else.
func TestReadableCredentials(t *testing.T) {
	const file = `
auth: {apiKeys: [{name: a, key: key-0123456789abcdef, credentials: {c: secret-0123456789}}]}
mcpServers:
  own: {command: a, env: {TOKEN: "${credential:c}"}, sandbox: {}}
  apart: {command: b, user: nobody}
  remote: {url: "http://127.0.0.1:1/mcp"}
`
	for more, want := range map[string]string{"": "", "  open: {command: c}\n": ": open"} {
		c, problems := v1.Parse([]byte(file+more), v1.Options{})
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		got := strings.Join(c.Warnings, "\n")
		if (got == "") != (want == "") || !strings.HasSuffix(got, want) {
			t.Errorf("%q: %s", more, got)
		}
	}
}
