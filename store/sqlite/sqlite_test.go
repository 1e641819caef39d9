package sqlite_test

import (
	"context"
	"database/sql"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/toolcrib/toolcrib/store"
	"github.com/toolcrib/toolcrib/store/sqlite"
	"github.com/toolcrib/toolcrib/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func at(path string) storetest.Database {
	return storetest.Database{Open: func(ctx context.Context) (store.Store, error) { return sqlite.Open(ctx, path) }}
}

func TestStore(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Database { return at(filepath.Join(t.TempDir(), "deep", "a b?c#d%20.db")) })
}

// TestOwnerOnly: nobody else reads the database, whatever the umask.
func TestOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state")
	s, err := sqlite.Open(t.Context(), filepath.Join(dir, "toolcrib.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.AddFirstKey(t.Context(), &store.Key{ID: "a"}); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) == 0 {
		t.Fatal(entries, err)
	}
	for _, e := range entries {
		if info, err := e.Info(); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", e.Name(), info.Mode(), err)
		}
	}
}

// TestClosesToOthers: a file that others could write to is closed to them, and what it holds stays.
func TestClosesToOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "toolcrib.db")
	for range 2 {
		s, err := sqlite.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.AddFirstKey(t.Context(), &store.Key{ID: "a", Name: "admin"}); err != nil {
			t.Fatal(err)
		}
		if k, err := s.Key(t.Context(), "a"); err != nil || k.Name != "admin" {
			t.Error(k, err)
		}
		for _, name := range []string{path, path + "-wal", path + "-shm"} {
			if info, err := os.Stat(name); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%s: %v %v", name, info, err)
			}
			if err := os.Chmod(name, 0o666); err != nil {
				t.Fatal(err)
			}
		}
		defer s.Close() // it stays open, so that the files beside it are there
	}
}

// TestLinks: a link to a database is followed; one that leads nowhere makes nothing there.
func TestLinks(t *testing.T) {
	dir := t.TempDir()
	link, target := filepath.Join(dir, "toolcrib.db"), filepath.Join(dir, "elsewhere")
	if err := os.Symlink(target, link); err != nil {
		t.Fatal(err)
	}
	if s, err := sqlite.Open(t.Context(), link); err == nil || !strings.Contains(err.Error(), link) {
		t.Errorf("a link that leads nowhere: %v", err)
		s.Close()
	}
	if _, err := os.Lstat(target); err == nil {
		t.Error("a file was made where the link leads")
	}
	if err := os.WriteFile(target, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := sqlite.Open(t.Context(), link)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if info, err := os.Stat(target); err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
		t.Errorf("the database that the link leads to: %v %v", info, err)
	}
	if s, err := sqlite.Open(t.Context(), os.DevNull); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device: %v", err)
		s.Close()
	}
}

// TestRefuses: what is no database of ours is an error that names the file, and stays as it is.
func TestRefuses(t *testing.T) {
	dir := t.TempDir()
	text := filepath.Join(dir, "text")
	if err := os.WriteFile(text, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	newer := filepath.Join(dir, "newer.db")
	db, err := sql.Open("sqlite", newer)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE toolcrib_schema (version INTEGER PRIMARY KEY, applied BIGINT NOT NULL); "+
		"INSERT INTO toolcrib_schema VALUES (999, 0)"); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]string{text: "not a database", newer: "a newer toolcrib made them", dir: "is a directory"} {
		s, err := sqlite.Open(t.Context(), path)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

// TestFull: a key is refused for which there is no room, and room is made by revoking another.
func TestFull(t *testing.T) {
	path := filepath.Join(t.TempDir(), "toolcrib.db")
	s, err := sqlite.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), `WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
		INSERT INTO toolcrib_keys SELECT 'k' || i, 'ci' || i, 'acme', '{}', randomblob(32), zeroblob(32), 0, 1, 'test', 0, 0, 0, 0 FROM n`, store.KeysMost-1); err != nil {
		t.Fatal(err)
	}
	add := func(id string) error { return s.AddKey(t.Context(), &store.Key{ID: id, Name: id, Tenant: "acme"}) }
	if err := add("last"); err != nil {
		t.Error(err)
	}
	if err := add("more"); !errors.Is(err, store.ErrFull) {
		t.Errorf("one key more: %v", err)
	}
	if _, err := s.RevokeKey(t.Context(), "k1", time.Now()); err != nil {
		t.Fatal(err)
	}
	if err := add("more"); err != nil {
		t.Errorf("after another was revoked: %v", err)
	}
}
