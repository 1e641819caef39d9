// Package sqlite is the store of one gateway: an SQLite file.
package sqlite

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"modernc.org/sqlite"
	lib "modernc.org/sqlite/lib"

	"github.com/toolcrib/toolcrib/store"
	"github.com/toolcrib/toolcrib/store/sqldb"
)

//go:embed migrations/*.sql
var files embed.FS

const (
	driver   = "sqlite"
	idleTime = time.Minute // an idle connection has a cache of pages
	// connections are readers; writers take turns.
	connections = 4
)

// Open opens the database in a file, which is made, with its folder, where it is missing, for its owner only. Whoever can write to it
// makes keys: a file that is open to others is closed to them.
func Open(ctx context.Context, path string) (store.Store, error) {
	db, err := open(ctx, path)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", path, err)
	}
	return db, nil
}

// Inspect looks at the database in a file, without changing its tables; an error that is fs.ErrNotExist where there is none.
func Inspect(ctx context.Context, path string) (*sqldb.Inspection, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := existing(path)
	if err != nil {
		return nil, err
	}
	defer db.Close()
	var sound string
	if err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&sound); err != nil {
		return nil, err
	}
	if sound != "ok" {
		return nil, fmt.Errorf("is damaged: %s", sound)
	}
	return sqldb.Inspect(ctx, db, &sqldb.Dialect{Schema: sqldb.Schema{Name: sqldb.StoreSchema, Migrations: migrations}, Taken: taken})
}

// Rehearse executes a statement in the database of a file, in a transaction that is rolled back. made is false where the file or the
// table is not there yet.
func Rehearse(ctx context.Context, path, statement string, args ...any) (made bool, err error) {
	db, err := existing(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	defer db.Close()
	err = sqldb.Rehearse(ctx, db, statement, args...)
	if err != nil && strings.Contains(err.Error(), "no such table") {
		return false, nil
	}
	return err == nil, err
}

// existing opens the database of a file that is there.
func existing(path string) (*sql.DB, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, err
	}
	return sql.Open(driver, (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: "mode=rw&_pragma=busy_timeout(2000)"}).String())
}

// OpenTables is Open for tables that are no store's.
func OpenTables(ctx context.Context, path string, tables *sqldb.Schema) (*sql.DB, error) {
	db, err := connect(path)
	if err == nil {
		if err = sqldb.Migrate(ctx, db, &sqldb.Dialect{Schema: *tables, Taken: taken}); err == nil {
			return db, nil
		}
		_ = db.Close()
	}
	return nil, fmt.Errorf("%s: %w", path, err)
}

func open(ctx context.Context, path string) (*sqldb.DB, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	db, err := connect(path)
	if err != nil {
		return nil, err
	}
	if err := own(path); err != nil {
		db.Close()
		return nil, err
	}
	s, err := sqldb.Open(ctx, db, &sqldb.Dialect{Schema: sqldb.Schema{Name: sqldb.StoreSchema, Migrations: migrations}, Taken: taken})
	if err != nil {
		db.Close()
		return nil, err
	}
	return s, nil
}

func connect(path string) (*sql.DB, error) {
	if err := create(path); err != nil {
		return nil, err
	}
	db, err := sql.Open(driver, dsn(path))
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(idleTime)
	return db, nil
}

// create makes the file before the driver does, which would leave it to the umask who may read it. SQLite gives the files that
// it puts beside it the same mode. A symbolic link that leads nowhere is not followed to make a file there.
func create(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		f, err = os.OpenFile(path, os.O_RDWR, 0)
	}
	if err != nil {
		return err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return cmp.Or(err, errors.New("is not a regular file"))
	}
	return nil
}

// own takes from others what they may do with a database and the files beside it, as far as they are there.
func own(path string) error {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return err
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if err == nil && info.Mode().Perm()&0o077 != 0 {
			err = os.Chmod(name, info.Mode().Perm()&^0o077)
		}
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// dsn has writers take turns from the start of their transactions, so that none fails in the middle, and loses nothing that was
// committed when the power fails.
func dsn(path string) string {
	q := url.Values{"_txlock": {"immediate"}, "_pragma": {"busy_timeout(5000)", "journal_mode(WAL)", "synchronous(FULL)", "foreign_keys(1)", "cache_size(-256)"}}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

func taken(err error) bool {
	e, ok := errors.AsType[*sqlite.Error](err)
	return ok && e.Code() == lib.SQLITE_CONSTRAINT_UNIQUE
}
