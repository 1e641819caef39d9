// Package evidence keeps dated records of what was exercised, in the state directory, so that it can be shown later.
package evidence

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/toolcrib/toolcrib/internal/files"
)

// The names of records.
const (
	LoadTest = "load-test" // how much the installation bears
	Failover = "failover"  // that a replica, Redis or the database was lost, and what that did
	Rotation = "rotation"  // that keys and credentials were replaced by others
)

// Names are those of all records.
func Names() []string { return []string{LoadTest, Failover, Rotation} }

// Record says that something was exercised.
type Record struct {
	At time.Time `json:"at"`
	// By is who or what did it.
	By string `json:"by"`
	// Result is one line on how it went; it begins with pass where it went well.
	Result string `json:"result"`
}

// Well tells whether it went well: nothing but a result that says so counts.
func (r *Record) Well() bool {
	return slices.Contains([]string{"pass", "passed", "ok"}, verdict(r.Result))
}

// Judges tells whether a result says if it went well.
func Judges(result string) bool {
	r := Record{Result: result}
	return r.Well() || slices.Contains([]string{"fail", "failed", "inconclusive"}, verdict(result))
}

// verdict is the word that a result begins with.
func verdict(result string) string {
	result = strings.ToLower(strings.TrimSpace(result))
	if end := strings.IndexFunc(result, func(r rune) bool { return !unicode.IsLetter(r) }); end >= 0 {
		return result[:end]
	}
	return result
}

const folder = "evidence"

// Path is the file of a record.
func Path(stateDir, name string) string { return filepath.Join(stateDir, folder, name+".json") }

// Write keeps a record in place of the last one of that name: a Record, or what embeds one and tells more.
func Write(stateDir, name string, record any) error {
	text, err := json.MarshalIndent(record, "", "  ")
	if err != nil {
		return err
	}
	path := Path(stateDir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return files.Replace(path, append(text, '\n'), 0o600)
}

// Read returns a record; an error that is fs.ErrNotExist where there is none.
func Read(stateDir, name string) (Record, error) {
	var r Record
	path := Path(stateDir, name)
	text, err := os.ReadFile(path)
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(text, &r); err != nil || r.At.IsZero() {
		return r, fmt.Errorf("%s is no record; remove it, and do what it was to tell of again", path)
	}
	return r, nil
}
