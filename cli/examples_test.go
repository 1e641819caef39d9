package cli_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/cli"
)

// TestExamples keeps the files of examples/ valid and without warnings.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../examples/*")
	if err != nil || len(files) < 3 {
		t.Fatalf("found %v, %v", files, err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			var out, errs bytes.Buffer
			code := cli.Main(t.Context(), []string{"validate", file}, strings.NewReader(""), &out, &errs)
			if code != cli.ExitOK || !strings.Contains(out.String(), "is valid") || strings.Contains(out.String(), "warning") {
				t.Errorf("exit code %d\n%s%s", code, out.String(), errs.String())
			}
		})
	}
}
