package testenv

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
)

// Lone is a stdio server that runs by itself: the program in the folder lone, which is built once per run.
type Lone struct {
	// Command and Args start it.
	Command string
	Args    []string
	mark    string
}

// Seen is what a Lone tells when its tool "who" is called.
type Seen struct {
	PID          int            `json:"pid"`
	Dir          string         `json:"dir"`
	Env          []string       `json:"env"`
	Args         []string       `json:"args"`
	Callers      map[string]int `json:"callers"`
	Capabilities map[string]int `json:"capabilities"`
}

var built struct {
	once sync.Once
	dir  string
	err  error
}

// lonePath builds the program.
func lonePath() (string, error) {
	built.once.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "toolcrib-lone-"); built.err != nil {
			return
		}
		cmd := exec.Command("go", "build", "-o", built.dir, "github.com/toolcrib/toolcrib/internal/testenv/lone") //nolint:noctx // short
		if out, err := cmd.CombinedOutput(); err != nil {
			built.err = fmt.Errorf("building lone: %w\n%s", err, out)
		}
	})
	return filepath.Join(built.dir, "lone"), built.err
}

// unbuild removes what was built.
func unbuild() {
	if built.dir != "" {
		_ = os.RemoveAll(built.dir)
	}
}

// LoneServer is a server of an era ("modern", "legacy" or "both") with a behaviour of the program; "" behaves well.
func LoneServer(t testing.TB, era, as string) *Lone {
	t.Helper()
	path, err := lonePath()
	if err != nil {
		t.Fatal(err)
	}
	mark := rand.Text()
	return &Lone{Command: path, Args: []string{"-era", era, "-mark", mark, "-as", as}, mark: mark}
}

// Entry is its entry in a configuration, with further keys.
func (l *Lone) Entry(more ...map[string]any) map[string]any {
	e := map[string]any{"command": l.Command, "args": l.Args}
	for _, m := range more {
		maps.Copy(e, m)
	}
	return e
}

// Processes are those of the server that run, descendants included.
func (l *Lone) Processes() []int { return Processes(l.mark) }

// SeenBy reads the answer of the tool "who".
func SeenBy(r *Reply) (Seen, error) {
	var s Seen
	if err := json.Unmarshal([]byte(r.Texts()), &s); err != nil {
		return s, fmt.Errorf("%w: %v", err, r)
	}
	return s, nil
}
