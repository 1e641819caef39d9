package source_test

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// outcome is one call of apply.
type outcome struct {
	config *v1.Config
	err    error
}

// watched is a configuration file under watch.
type watched struct {
	t    *testing.T
	path string
	file *source.File
	mu   sync.Mutex
	got  []outcome
}

// watch runs f on a file with the given content that has been loaded and is
// watched, in a bubble with its own time.
func watch(t *testing.T, content string, f func(w *watched)) {
	t.Helper()
	w := &watched{t: t, path: filepath.Join(t.TempDir(), "toolcrib.yaml")}
	w.file = &source.File{Path: w.path}
	w.write(content)
	synctest.Test(t, func(t *testing.T) {
		w.t = t
		ctx, cancel := context.WithCancel(t.Context())
		_, _ = w.file.Load()
		done := make(chan struct{})
		go func() {
			defer close(done)
			w.file.Watch(ctx, 0, w.apply)
		}()
		f(w)
		cancel()
		<-done
	})
}

func (w *watched) apply(c *v1.Config, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.got = append(w.got, outcome{c, err})
}

func (w *watched) write(content string) {
	w.t.Helper()
	if err := os.WriteFile(w.path, []byte(content), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// after lets time pass and returns the calls of apply in it.
func (w *watched) after(d time.Duration) []outcome {
	time.Sleep(d)
	synctest.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	got := w.got
	w.got = nil
	return got
}

// listens accepts one call of apply, with this listen address.
func (w *watched) listens(got []outcome, listen string) {
	w.t.Helper()
	if len(got) != 1 || got[0].err != nil || got[0].config.Listen != listen {
		w.t.Fatalf("got %+v, want one configuration that listens on %s", got, listen)
	}
}

// fails accepts one call of apply, with an error that holds text.
func (w *watched) fails(got []outcome, text string) {
	w.t.Helper()
	if len(got) != 1 || got[0].config != nil || !strings.Contains(got[0].err.Error(), text) {
		w.t.Fatalf("got %+v, want one error with %q", got, text)
	}
}

func (w *watched) quiet(got []outcome) {
	w.t.Helper()
	if len(got) != 0 {
		w.t.Fatalf("got %+v, want nothing", got)
	}
}

func TestWatchAppliesChanges(t *testing.T) {
	watch(t, "listen: 127.0.0.1:1", func(w *watched) {
		w.quiet(w.after(time.Minute))
		w.write("listen: 127.0.0.1:2")
		w.listens(w.after(time.Second), "127.0.0.1:2")
		w.quiet(w.after(time.Minute))
		w.write("listen: 127.0.0.1:2") // touched, not changed
		w.quiet(w.after(time.Minute))
	})
}

func TestWatchReportsABadFileOnce(t *testing.T) {
	watch(t, "listen: 127.0.0.1:1", func(w *watched) {
		w.write("listen: nonsense")
		w.fails(w.after(time.Second), w.path+":1: listen: ")
		w.quiet(w.after(time.Minute))
		w.write("listen: 127.0.0.1:1")
		w.listens(w.after(time.Second), "127.0.0.1:1")
	})
}

// TestWatchRefusesAnEmptyFile has a file that is caught half written: it takes
// no server away.
func TestWatchRefusesAnEmptyFile(t *testing.T) {
	watch(t, "listen: 127.0.0.1:1", func(w *watched) {
		for _, empty := range []string{"", "# nothing\n", "{}"} {
			w.write(empty)
			w.fails(w.after(time.Second), w.path+": the file is empty: ")
		}
	})
}

func TestReferencesStartAtTheFile(t *testing.T) {
	dir := t.TempDir()
	for name, content := range map[string]string{"port": "7", "toolcrib.yaml": "listen: 127.0.0.1:${file:port}"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := (&source.File{Path: filepath.Join(dir, "toolcrib.yaml")}).Load()
	if err != nil || c.Listen != "127.0.0.1:7" {
		t.Errorf("got %+v, %v", c, err)
	}
}

func TestWatchBeginsWithABadFile(t *testing.T) {
	watch(t, "lisen: x", func(w *watched) {
		w.quiet(w.after(time.Minute)) // Load has reported it
		w.write("listen: 127.0.0.1:1")
		w.listens(w.after(time.Second), "127.0.0.1:1")
	})
}

func TestWatchSurvivesRemoval(t *testing.T) {
	watch(t, "listen: 127.0.0.1:1", func(w *watched) {
		if err := os.Remove(w.path); err != nil {
			w.t.Fatal(err)
		}
		w.fails(w.after(time.Second), "cannot be read: no such file")
		w.quiet(w.after(time.Minute))
		w.write("listen: 127.0.0.1:2")
		w.listens(w.after(time.Second), "127.0.0.1:2")
	})
}

func TestWatchFollowsRenames(t *testing.T) {
	watch(t, "listen: 127.0.0.1:1", func(w *watched) {
		next := w.path + ".new"
		if err := os.WriteFile(next, []byte("listen: 127.0.0.1:2"), 0o600); err != nil {
			w.t.Fatal(err)
		}
		if err := os.Rename(next, w.path); err != nil {
			w.t.Fatal(err)
		}
		w.listens(w.after(time.Second), "127.0.0.1:2")
	})
}

// TestWatchFollowsLinks swaps a link to a directory, as Kubernetes does with a
// mounted ConfigMap.
func TestWatchFollowsLinks(t *testing.T) {
	dir := t.TempDir()
	for name, listen := range map[string]string{"one": "127.0.0.1:1", "two": "127.0.0.1:2"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name, "toolcrib.yaml"), []byte("listen: "+listen), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(from, to string) {
		if err := os.Symlink(to, filepath.Join(dir, from)); err != nil {
			t.Fatal(err)
		}
	}
	watch(t, "", func(w *watched) {
		if err := os.Remove(w.path); err != nil {
			w.t.Fatal(err)
		}
		link("data", "one")
		if err := os.Symlink(filepath.Join(dir, "data", "toolcrib.yaml"), w.path); err != nil {
			w.t.Fatal(err)
		}
		w.listens(w.after(time.Second), "127.0.0.1:1")
		link("next", "two")
		if err := os.Rename(filepath.Join(dir, "next"), filepath.Join(dir, "data")); err != nil {
			w.t.Fatal(err)
		}
		w.listens(w.after(time.Second), "127.0.0.1:2")
	})
}

// TestWatchWaitsForTheWriter has a file that is written in steps, each of them
// a valid configuration.
func TestWatchWaitsForTheWriter(t *testing.T) {
	watch(t, "listen: 127.0.0.1:1", func(w *watched) {
		text := "listen: 127.0.0.1:2\nmcpServers:\n  a: {command: x}\n  b: {command: x}\n"
		for i := 20; i < len(text); i += 10 {
			w.write(text[:i])
			w.quiet(w.after(90 * time.Millisecond))
		}
		w.write(text)
		got := w.after(time.Second)
		w.listens(got, "127.0.0.1:2")
		if n := len(got[0].config.MCPServers); n != 2 {
			w.t.Errorf("%d servers, want 2", n)
		}
	})
}

func TestWatchFollowsReferences(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "port")
	write := func(text string) {
		if err := os.WriteFile(secret, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("1\n")
	watch(t, "listen: 127.0.0.1:${file:"+secret+"}", func(w *watched) {
		w.quiet(w.after(time.Minute))
		write("2\n")
		w.listens(w.after(time.Second), "127.0.0.1:2")
		if err := os.Remove(secret); err != nil {
			w.t.Fatal(err)
		}
		w.fails(w.after(time.Second), "needs the file "+secret)
		w.quiet(w.after(time.Minute))
		write("3")
		w.listens(w.after(time.Second), "127.0.0.1:3")
	})
}

func TestWatchFollowsFilesThatAPatternFits(t *testing.T) {
	watch(t, "mcpServers: {}\npolicies: {cedar: [policies/*.cedar]}", func(w *watched) {
		dir := filepath.Join(filepath.Dir(w.path), "policies")
		write := func(name, text string) {
			w.t.Helper()
			if err := os.MkdirAll(dir, 0o700); err != nil {
				w.t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				w.t.Fatal(err)
			}
		}
		reads := func(want ...v1.PolicyFile) {
			w.t.Helper()
			got := w.after(time.Second)
			if len(got) != 1 || got[0].err != nil || !slices.Equal(got[0].config.Policies.Files, want) {
				w.t.Fatalf("got %+v, want one configuration with %+v", got, want)
			}
		}
		w.quiet(w.after(time.Minute))
		write("a.cedar", "one")
		reads(v1.PolicyFile{Name: "policies/a.cedar", Text: "one"})
		write("a.cedar", "two")
		reads(v1.PolicyFile{Name: "policies/a.cedar", Text: "two"})
		write("b.cedar", "three")
		reads(v1.PolicyFile{Name: "policies/a.cedar", Text: "two"}, v1.PolicyFile{Name: "policies/b.cedar", Text: "three"})
		if err := os.RemoveAll(dir); err != nil {
			w.t.Fatal(err)
		}
		w.fails(w.after(time.Second), "policies.cedar[0]: fits no file")
		w.quiet(w.after(time.Minute))
	})
}

func TestReload(t *testing.T) {
	watch(t, "listen: 127.0.0.1:1", func(w *watched) {
		w.file.Reload()
		w.listens(w.after(0), "127.0.0.1:1")
		w.quiet(w.after(time.Minute))
		w.write("listen: nonsense")
		w.file.Reload()
		w.fails(w.after(0), "listen")
		w.quiet(w.after(time.Minute))
		for range 10 {
			w.file.Reload() // never blocks
		}
		if n := len(w.after(0)); n == 0 || n > 2 {
			w.t.Errorf("%d loads", n)
		}
	})
}

func TestWatchWithoutLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "toolcrib.yaml")
	if err := os.WriteFile(path, []byte("listen: 127.0.0.1:1"), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		calls := 0
		(&source.File{Path: path}).Watch(ctx, time.Second, func(_ *v1.Config, err error) {
			if calls++; err != nil {
				t.Error(err)
			}
		})
		if calls != 1 {
			t.Errorf("%d calls, want 1", calls)
		}
	})
}

func TestLoadErrors(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "toolcrib.yaml")
	if err := os.WriteFile(path, []byte("lisen: x\nlog: {level: loud}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := (&source.File{Path: path}).Load()
	want := path + `:1: lisen: is not a known key; did you mean "listen"?` + "\n" +
		path + `:2: log.level: "loud" is not one of debug, info, warn, error`
	if err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
	var problems v1.Problems
	if !errors.As(err, &problems) || len(problems) != 2 {
		t.Errorf("problems: %v", problems)
	}
	if _, err := (&source.File{Path: filepath.Join(dir, "none")}).Load(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	if _, err := (&source.File{Path: dir}).Load(); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a directory: %v", err)
	}
	large := filepath.Join(dir, "large")
	if err := os.WriteFile(large, make([]byte, v1.MaxFile+10), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := (&source.File{Path: large}).Load(); err == nil || !strings.Contains(err.Error(), "at most") {
		t.Errorf("a large file: %v", err)
	}
}
