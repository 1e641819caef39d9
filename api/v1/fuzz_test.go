package v1_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// FuzzParse holds that Parse gives a configuration or problems, that what it
// gives is valid, and that writing it out and reading it again changes nothing.
func FuzzParse(f *testing.F) {
	files, err := filepath.Glob("testdata/*/*.*")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, problems := v1.Parse(data, options())
		if (c == nil) == (len(problems) == 0) {
			t.Fatalf("configuration %v with problems %v", c, problems)
		}
		if c == nil {
			return
		}
		if ps := c.Validate(); len(ps) > 0 {
			t.Fatalf("not valid: %v", ps)
		}
		c.Auth.APIKeys, c.Seal.Keys, c.Warnings = nil, nil, nil // not written out
		c.Audit.Key, c.Store = "", ""
		c.Audit.Sinks = slices.DeleteFunc(c.Audit.Sinks, func(s v1.AuditSink) bool { return s.Postgres != "" })
		if p := c.Auth.TrustedProxy; p != nil {
			p.Secret = ""
		}
		for _, s := range c.MCPServers {
			s.Pool.Spares = 0 // needs isolation, which may follow from the keys
		}
		text, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("${principal.")) || bytes.Contains(text, []byte("${credential:")) {
			return // what stands for the caller is not literal text
		}
		escaped := options()
		again, problems := v1.Parse(escapeReferences(text), escaped)
		if len(problems) > 0 {
			t.Fatalf("%s\n%v", text, problems)
		}
		again.Warnings = nil
		if diff := cmp.Diff(text, must(json.Marshal(again))); diff != "" {
			t.Fatalf("(-first +second):\n%s", diff)
		}
	})
}

func must(text []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return text
}

// escapeReferences writes each ${ as $${.
func escapeReferences(text []byte) []byte {
	var out []byte
	for i, c := range text {
		if c == '$' && i+1 < len(text) && text[i+1] == '{' {
			out = append(out, '$')
		}
		out = append(out, c)
	}
	return out
}
