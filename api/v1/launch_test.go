package v1_test

import (
	"strings"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

func TestParsePackage(t *testing.T) {
	for text, want := range map[string]struct {
		p     v1.Package
		exact bool
		spec  string
	}{
		"npx:server@1.2.3":                       {v1.Package{Launcher: "npx", Name: "server", Version: "1.2.3"}, true, "server@1.2.3"},
		"npx:@scope/server@2026.8.31":            {v1.Package{Launcher: "npx", Name: "@scope/server", Version: "2026.8.31"}, true, "@scope/server@2026.8.31"},
		"npx:@scope/server@1.0.0-rc.1+build":     {v1.Package{Launcher: "npx", Name: "@scope/server", Version: "1.0.0-rc.1+build"}, true, "@scope/server@1.0.0-rc.1+build"},
		"npx:@scope/server":                      {v1.Package{Launcher: "npx", Name: "@scope/server"}, false, "@scope/server"},
		"npx:server@latest":                      {v1.Package{Launcher: "npx", Name: "server", Version: "latest"}, false, "server@latest"},
		"npx:server@1.2":                         {v1.Package{Launcher: "npx", Name: "server", Version: "1.2"}, false, "server@1.2"},
		"uvx:mcp-server-git==1.2.3":              {v1.Package{Launcher: "uvx", Name: "mcp-server-git", Version: "1.2.3"}, true, "mcp-server-git==1.2.3"},
		"uvx:mcp[cli]==1!2.0rc1.post2+local.1":   {v1.Package{Launcher: "uvx", Name: "mcp[cli]", Version: "1!2.0rc1.post2+local.1"}, true, "mcp[cli]==1!2.0rc1.post2+local.1"},
		"uvx:mcp":                                {v1.Package{Launcher: "uvx", Name: "mcp"}, false, "mcp"},
		"go:example.com/server@v1.2.3":           {v1.Package{Launcher: "go", Name: "example.com/server", Version: "v1.2.3"}, true, "example.com/server@v1.2.3"},
		"go:example.com/m/v2/cmd/s@v2.0.0-rc.1":  {v1.Package{Launcher: "go", Name: "example.com/m/v2/cmd/s", Version: "v2.0.0-rc.1"}, true, "example.com/m/v2/cmd/s@v2.0.0-rc.1"},
		"go:example.com/server":                  {v1.Package{Launcher: "go", Name: "example.com/server"}, false, "example.com/server@latest"},
		"go:example.com/server@latest":           {v1.Package{Launcher: "go", Name: "example.com/server", Version: "latest"}, false, "example.com/server@latest"},
		"go:example.com/s@v3.0.0+incompatible":   {v1.Package{Launcher: "go", Name: "example.com/s", Version: "v3.0.0+incompatible"}, true, "example.com/s@v3.0.0+incompatible"},
		"go:gopkg.in/yaml.v3@v3.0.1":             {v1.Package{Launcher: "go", Name: "gopkg.in/yaml.v3", Version: "v3.0.1"}, true, "gopkg.in/yaml.v3@v3.0.1"},
		"go:github.com/a/b@v0.0.0-20260101-abcd": {v1.Package{Launcher: "go", Name: "github.com/a/b", Version: "v0.0.0-20260101-abcd"}, true, "github.com/a/b@v0.0.0-20260101-abcd"},
	} {
		p, err := v1.ParsePackage(text)
		if err != nil || p != want.p || p.Exact() != want.exact || p.Spec() != want.spec || p.String() != text {
			t.Errorf("%s: %+v, exact %v, spec %s, text %s, %v", text, p, p.Exact(), p.Spec(), p, err)
		}
	}
}

func TestParsePackageRefuses(t *testing.T) {
	for _, text := range []string{
		"", "npx", "npx:", "npm:x@1.0.0", "NPX:x@1.0.0", "npx:@1.0.0", "npx:@scope@1.0.0", "npx:@scope/@1.0.0", "npx:x@", "npx: x@1.0.0", "npx:x@1.0.0 ",
		"npx:x@npm:y@1.0.0", "npx:x@^1.0.0", "npx:x@~1", "npx:x@>=1", "npx:x@*", "npx:x@1 || 2", "npx:x@latest@1", "npx:x@user/repo", "npx:user/repo",
		"npx:https://a.example/x.tgz", "npx:git+ssh://a/b", "npx:file:x", "npx:./x", "npx:../x", "npx:/x", "npx:x/../y", "npx:-y", "npx:--call=id", "npx:x@-c",
		"npx:.hidden@1.0.0", "npx:x\n@1.0.0", "npx:x@1.0.0\n-c", "npx:x\x00", "npx:@../x@1.0.0", "npx:a..b", "npx:" + strings.Repeat("x", 600),
		"uvx:x@1.0.0", "uvx:x=1.0.0", "uvx:x==", "uvx:x>=1", "uvx:x==1,==2", "uvx:x===1", "uvx:git+https://a.example/x", "uvx:x @ https://a", "uvx:x;python_version<'3'",
		"uvx:-x", "uvx:--from==1", "uvx:x[", "uvx:x[]==1", "uvx:x[a b]", "uvx:./x",
		"go:server@v1.0.0", "go:example.com", "go:./x", "go:../x@v1.0.0", "go:example.com/../x@v1", "go:example.com/x@v1/../y", "go:example.com/x@", "go:-x.com/y",
		"go:example.com/x/-y", "go:example.com//x", "go:example.com/x/", "go:/example.com/x", "go:example.com/x@>v1", "go:example.com/x@feature/branch", "go:a.b/c d",
	} {
		if p, err := v1.ParsePackage(text); err == nil {
			t.Errorf("%q is taken for %+v", text, p)
		}
	}
}

func FuzzParsePackage(f *testing.F) {
	for _, seed := range []string{"npx:@a/b@1.2.3", "uvx:a[b]==1.0", "go:a.b/c@v1.0.0", "npx:a@npm:b"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := v1.ParsePackage(text)
		if err != nil {
			return
		}
		if p.String() != text {
			t.Fatalf("%q reads back as %q", text, p)
		}
		spec := p.Spec()
		if strings.HasPrefix(spec, "-") || strings.HasPrefix(p.Version, "-") || strings.ContainsAny(spec, " \t\r\n:\x00\\|<>^*?;&'\"$`") || strings.Contains(spec, "..") {
			t.Fatalf("%q gives a launcher %q", text, spec)
		}
	})
}

// TestSteers names some of the variables that change what a program runs, and some that do not.
func TestSteers(t *testing.T) {
	for name, want := range map[string]bool{
		"PATH": true, "LD_PRELOAD": true, "NODE_OPTIONS": true, "npm_config_registry": true, "PYTHONPATH": true, "GIT_SSH_COMMAND": true, "BASH_ENV": true,
		"BASH_FUNC_ls%%": true, "OPENSSL_CONF": true, "HOME": true, "XDG_CONFIG_HOME": true, "SHELL": true, "RSYNC_RSH": true,
		"TOKEN": false, "HOMES": false, "GOING": false, "PATHS": false, "MY_PATH": false, "ENVIRONMENT": false, "LANG": false,
	} {
		if v1.Steers(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
