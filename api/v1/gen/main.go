// Command gen writes docs/configuration.md and docs/config.schema.json from the
// types of api/v1, their doc comments and their tags. Run it in api/v1 with
// "go generate".
package main

import (
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	if err := run(".", "../../docs"); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

// run reads the package in dir and writes the documents to docs.
func run(dir, docs string) error {
	files, err := generate(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(docs, 0o755); err != nil {
		return err
	}
	for name, data := range files {
		if err := os.WriteFile(filepath.Join(docs, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}

// generate returns the documents by name.
func generate(dir string) (map[string][]byte, error) {
	m, err := readModel(dir)
	if err != nil {
		return nil, err
	}
	schema, err := m.schema()
	if err != nil {
		return nil, err
	}
	return map[string][]byte{"configuration.md": m.markdown(), "config.schema.json": schema}, nil
}
