// Package law holds the dependency law of the house: which room may know which. It reads what the packages
// import, tests excluded, and compares it with the tables below. A new room is entered here first.
package law

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const module = "github.com/toolcrib/toolcrib/"

// arrows are the rooms and what each may import. They point down: what is behind an arrow of an imported
// room may be imported too. Engines (everything below plan) have no arrows to each other, but those here.
var arrows = map[string][]string{
	"cmd":     {"cli"},
	"cli":     {"app", "doctor", "internal/example"},
	"doctor":  {"app"},
	"app":     {"front", "source", "control", "store"},
	"front":   {"gateway"},
	"gateway": {"plan"},
	"plan":    {"identity", "policy", "audit", "telemetry", "upstream", "cluster", "cache", "limit"},

	"upstream":  {"runner"},
	"runner":    {"pinning"},
	"pinning":   {},
	"cluster":   {},
	"limit":     {"cluster"},
	"identity":  {"store"},
	"policy":    {"identity"},
	"audit":     {"store"},
	"store":     {},
	"telemetry": {},
	"cache":     {},

	"source":  {},
	"control": {"policy", "audit"},
	"api":     {},
	"mcp":     {},
	"seal":    {},
	"errs":    {},

	"internal/evidence": {},
	"internal/example":  {},
	"internal/machine":  {},
	"internal/files":    {},
	"internal/trace":    {},
	"internal/testenv":  {"cli"},
	"test":              {"cmd", "internal/testenv"},
}

// shared are the rooms that every room may import.
var shared = []string{"api", "mcp", "seal", "errs", "internal/files", "internal/evidence", "internal/machine", "internal/trace"}

// leaves import nothing but the standard library and the modules listed.
var leaves = map[string][]string{
	"mcp":              {},
	"errs":             {},
	"internal/files":   {},
	"internal/trace":   {},
	"upstream/h1":      {},
	"upstream/balance": {},
	"seal":             {"golang.org/x/crypto/"},
}

// fences keep modules (by path prefix) inside the rooms or folders listed.
var fences = map[string][]string{
	"k8s.io/":                                {"operator", "source/kube"},
	"sigs.k8s.io/":                           {"operator", "source/kube"},
	"github.com/modelcontextprotocol/go-sdk": {"internal/example", "internal/testenv", "test"},
	"github.com/prometheus/":                 {"telemetry"},
	"go.opentelemetry.io/":                   {"telemetry", "internal/testenv", "test"},
	"github.com/redis/rueidis":               {"cluster/redis"},
	"github.com/lmittmann/tint":              {"telemetry"},
	"github.com/alecthomas/kong":             {"cli"},
	"github.com/HdrHistogram/":               {"cli/bench"},
	"go.yaml.in/":                            {"api", "source", "policy", "doctor", "cli", "telemetry/alerts"},
	"github.com/cedar-policy/cedar-go":       {"policy"},
	"github.com/coreos/go-oidc/v3":           {"identity"},
	"modernc.org/sqlite":                     {"store", "audit"},
	"github.com/jackc/pgx/v5":                {"store", "audit", "internal/testenv"},
}

// pkg is what `go list -json` says of a package.
type pkg struct {
	ImportPath string
	Standard   bool
	Imports    []string
}

func TestLaw(t *testing.T) {
	packages := list(t)
	if len(packages) < 100 {
		t.Fatalf("go list found %d packages: that cannot be the program with its dependencies", len(packages))
	}
	for _, broken := range check(packages) {
		t.Error(broken)
	}
}

const root = "../.."

func list(t *testing.T) []pkg {
	t.Helper()
	look(t)
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports", "./...")
	cmd.Dir = root
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, &stderr)
	}
	var packages []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			return packages
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p)
	}
}

// look visits each source file: the go command then takes a cached result only while none has changed.
func look(t *testing.T) {
	t.Helper()
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && path != root && strings.HasPrefix(d.Name(), "."):
			return filepath.SkipDir
		case filepath.Ext(path) == ".go" || d.Name() == "go.mod":
			_, err = os.Stat(path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// check returns one line for each breach of the law.
func check(packages []pkg) []string {
	standard := map[string]bool{"C": true}
	for _, p := range packages {
		standard[p.ImportPath] = p.Standard
	}
	var broken []string
	for _, p := range packages {
		path, ours := strings.CutPrefix(p.ImportPath, module)
		if !ours {
			continue
		}
		if _, known := arrows[room(path)]; !known {
			broken = append(broken, fmt.Sprintf("room %s is not in the law: enter it in test/law with what it may import", room(path)))
			continue
		}
		for _, target := range p.Imports {
			if standard[target] {
				continue
			}
			if why := breach(path, target); why != "" {
				broken = append(broken, fmt.Sprintf("%s imports %s: %s", path, strings.TrimPrefix(target, module), why))
			}
		}
	}
	slices.Sort(broken)
	return slices.Compact(broken)
}

// breach says which law the import of target, a package outside the standard library, breaks; empty for none.
func breach(path, target string) string {
	inner, ours := strings.CutPrefix(target, module)
	for leaf, allowed := range leaves {
		if under(path, leaf) && !(ours && under(inner, leaf)) && !hasPrefix(target, allowed) {
			return leaf + " is a leaf"
		}
	}
	if ours {
		if from, to := room(path), room(inner); from != to && !slices.Contains(shared, to) && !reaches(from, to) {
			return fmt.Sprintf("no arrow from %s to %s", from, to)
		}
		return ""
	}
	for fence, inside := range fences {
		if strings.HasPrefix(target, fence) && !slices.ContainsFunc(inside, func(f string) bool { return under(path, f) }) {
			return fence + " belongs in " + strings.Join(inside, ", ")
		}
	}
	return ""
}

// room is the root folder of a package, or the folder below internal.
func room(path string) string {
	first, rest, _ := strings.Cut(path, "/")
	if first != "internal" {
		return first
	}
	second, _, _ := strings.Cut(rest, "/")
	return first + "/" + second
}

func reaches(from, to string) bool {
	return slices.ContainsFunc(arrows[from], func(next string) bool { return next == to || reaches(next, to) })
}

func under(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func hasPrefix(path string, prefixes []string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(path, p) })
}

func TestArrowsPointDown(t *testing.T) {
	for from, to := range arrows {
		for _, next := range to {
			if _, known := arrows[next]; !known {
				t.Errorf("%s has an arrow to %s, which is no room", from, next)
			}
		}
	}
	// A circle of arrows would make reaches endless: walk with a bound first.
	for from := range arrows {
		at := []string{from}
		for range len(arrows) {
			var next []string
			for _, r := range at {
				next = append(next, arrows[r]...)
			}
			slices.Sort(next)
			at = slices.Compact(next)
		}
		if len(at) > 0 {
			t.Fatalf("arrows from %s run in a circle through %v", from, at)
		}
	}
}

// TestBreaches shows that the law can be broken: each breach is seen, and nothing else is.
func TestBreaches(t *testing.T) {
	packages := []pkg{
		{ImportPath: "fmt", Standard: true},
		{ImportPath: "k8s.io/api/core/v1", Imports: []string{"fmt"}},
		{ImportPath: module + "front", Imports: []string{"fmt", module + "gateway", module + "upstream", module + "mcp"}},
		{ImportPath: module + "gateway", Imports: []string{module + "front"}},
		{ImportPath: module + "identity", Imports: []string{module + "telemetry", module + "errs"}},
		{ImportPath: module + "upstream", Imports: []string{module + "runner", module + "upstream/h1", "k8s.io/api/core/v1"}},
		{ImportPath: module + "upstream/h1", Imports: []string{module + "mcp"}},
		{ImportPath: module + "mcp", Imports: []string{module + "errs", "golang.org/x/text/unicode", module + "mcp/inner"}},
		{ImportPath: module + "seal", Imports: []string{"golang.org/x/crypto/chacha20poly1305", module + "errs"}},
		{ImportPath: module + "telemetry", Imports: []string{"github.com/prometheus/client_golang/prometheus"}},
		{ImportPath: module + "cellar/wine"},
		{ImportPath: module + "internal/attic"},
	}
	want := []string{
		"gateway imports front: no arrow from gateway to front",
		"identity imports telemetry: no arrow from identity to telemetry",
		"mcp imports errs: mcp is a leaf",
		"mcp imports golang.org/x/text/unicode: mcp is a leaf",
		"room cellar is not in the law: enter it in test/law with what it may import",
		"room internal/attic is not in the law: enter it in test/law with what it may import",
		"seal imports errs: seal is a leaf",
		"upstream imports k8s.io/api/core/v1: k8s.io/ belongs in operator, source/kube",
		"upstream/h1 imports mcp: upstream/h1 is a leaf",
	}
	if diff := cmp.Diff(want, check(packages)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
