package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/jsonschema-go/jsonschema"
	"go.yaml.in/yaml/v4"
)

// TestDocumentsAreFresh fails when docs/ does not say what the types say.
func TestDocumentsAreFresh(t *testing.T) {
	files, err := generate("..")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join("../../../docs", name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("docs/%s is stale; run: go generate ./api/v1\n%s", name, diff)
		}
	}
}

func TestRunWritesDocuments(t *testing.T) {
	docs := filepath.Join(t.TempDir(), "docs")
	if err := run("..", docs); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"configuration.md", "config.schema.json"} {
		if info, err := os.Stat(filepath.Join(docs, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := run("nowhere", docs); err == nil {
		t.Error("no error without sources")
	}
}

// TestEveryKeyIsDocumented holds that each key has its row and its property.
func TestEveryKeyIsDocumented(t *testing.T) {
	m, err := readModel("..")
	if err != nil {
		t.Fatal(err)
	}
	text := string(m.markdown())
	for _, o := range m.objects {
		for _, f := range o.fields {
			if !strings.Contains(text, "| `"+f.name+"` |") {
				t.Errorf("%s has no row", f.name)
			}
			if !strings.HasSuffix(f.doc, ".") {
				t.Errorf("%s: the doc comment is not a sentence: %q", f.name, f.doc)
			}
		}
	}
}

func resolvedSchema(t *testing.T) *jsonschema.Resolved {
	t.Helper()
	files, err := generate("..")
	if err != nil {
		t.Fatal(err)
	}
	var schema jsonschema.Schema
	if err := json.Unmarshal(files["config.schema.json"], &schema); err != nil {
		t.Fatal(err)
	}
	resolved, err := schema.Resolve(&jsonschema.ResolveOptions{ValidateDefaults: true})
	if err != nil {
		t.Fatal(err)
	}
	return resolved
}

// TestSchemaAcceptsGoodFiles validates the parser's good fixtures.
func TestSchemaAcceptsGoodFiles(t *testing.T) {
	schema := resolvedSchema(t)
	files, err := filepath.Glob("../testdata/good/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	more, err := filepath.Glob("../testdata/good/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range append(files, more...) {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			var value any
			if err := yaml.Unmarshal(data, &value); err != nil {
				t.Skip("comments or surrogate escapes, which only the parser and editors read:", err)
			}
			if err := schema.Validate(plain(t, value)); err != nil {
				t.Error(err)
			}
		})
	}
}

// plain gives value the types that encoding/json has.
func plain(t *testing.T, value any) any {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	var out any
	if err := json.Unmarshal(text, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestSchemaRefuses(t *testing.T) {
	schema := resolvedSchema(t)
	for _, text := range []string{
		`{"lisen": "x"}`,
		`{"listen": 5}`,
		`{"mcpServers": {"a": {}}}`,
		`{"mcpServers": {"a": {"command": "x", "comand": "y"}}}`,
		`{"mcpServers": {"a": {"command": "x", "args": [1]}}}`,
		`{"mcpServers": {"a": {"command": "x", "type": "websocket"}}}`,
		`{"mcpServers": {"a": {"command": "x", "prefix": "a b"}}}`,
		`{"mcpServers": {"a": {"command": "x", "timeouts": {"call": 5}}}}`,
		`{"mcpServers": {"a": {"command": "x", "timeouts": {"call": "-5s"}}}}`,
		`{"mcpServers": {"a/b": {"command": "x"}}}`,
		`{"log": {"level": "loud"}}`,
		`{"messages": {"maxBytes": "16mb"}}`,
		`{"messages": {"maxDepth": 1}}`,
		`{"auth": {"apiKeys": [{"name": "a"}]}}`,
	} {
		var value any
		if err := json.Unmarshal([]byte(text), &value); err != nil {
			t.Fatal(err)
		}
		if schema.Validate(value) == nil {
			t.Errorf("accepted: %s", text)
		}
	}
}
