// Package sqldb does what a store must do over database/sql. What differs between databases is a [Dialect]. Migrations are our
// own forty lines: they are few, both databases have them as plain files, and a library for them would cost each start more
// than all else of the store.
package sqldb

import (
	"context"
	"database/sql"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Timeout bounds every use of a database; a caller's context may be shorter.
const Timeout = 10 * time.Second

// Schema are tables that belong together. Several may share a database.
type Schema struct {
	// Name is the table that says which migrations were applied.
	Name string
	// Migrations are files NNNN_name.sql, each applied once, in the order of their numbers, which begin at 1 and leave none out.
	Migrations fs.FS
}

// StoreSchema is the name of a store's schema.
const StoreSchema = "toolcrib_schema"

// Dialect is what differs between databases.
type Dialect struct {
	Schema
	// Lock is run at the start of a migration, so that others wait for its end; empty where transactions do.
	Lock string
	// Taken tells whether an error says that a unique value is there already.
	Taken func(error) bool
}

// DB is a store over database/sql.
type DB struct {
	db *sql.DB
	d  *Dialect
}

// Open brings the tables of a database up to date.
func Open(ctx context.Context, db *sql.DB, d *Dialect) (*DB, error) {
	s := &DB{db: db, d: d}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	all, err := migrations(d.Migrations)
	if err != nil {
		return nil, err
	}
	if at, err := s.version(ctx, db); err == nil && at == len(all) {
		return s, nil
	}
	return s, s.within(ctx, func(tx *sql.Tx) error { return s.migrate(ctx, tx, all) })
}

// Migrate brings the tables of a database up to date, for who uses them without a store.
func Migrate(ctx context.Context, db *sql.DB, d *Dialect) error {
	_, err := Open(ctx, db, d)
	return err
}

// Close implements store.Store.
func (s *DB) Close() error { return s.db.Close() }

// within does f in a transaction.
func (s *DB) within(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := s.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // err says why
		return err
	}
	return tx.Commit()
}

// migrations are the texts of the files, in order.
func migrations(files fs.FS) ([]string, error) {
	names, err := fs.Glob(files, "*.sql")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var all []string
	for i, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if n, err := strconv.Atoi(number); err != nil || n != i+1 {
			return nil, fmt.Errorf("migration %s: want number %d", name, i+1)
		}
		text, err := fs.ReadFile(files, name)
		if err != nil {
			return nil, err
		}
		all = append(all, string(text))
	}
	return all, nil
}

type querier interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func (s *DB) version(ctx context.Context, q querier) (n int, err error) {
	err = q.QueryRowContext(ctx, "SELECT COALESCE(MAX(version), 0) FROM "+s.d.Name).Scan(&n)
	return n, err
}

func (s *DB) migrate(ctx context.Context, tx *sql.Tx, all []string) error {
	if s.d.Lock != "" {
		if _, err := tx.ExecContext(ctx, s.d.Lock); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, "CREATE TABLE IF NOT EXISTS "+s.d.Name+" (version INTEGER PRIMARY KEY, applied BIGINT NOT NULL)"); err != nil {
		return err
	}
	at, err := s.version(ctx, tx)
	if err != nil {
		return err
	}
	if at > len(all) {
		return fmt.Errorf("its tables are of version %d and this toolcrib knows %d: a newer toolcrib made them; start that one, "+
			"or name another database in store", at, len(all))
	}
	for i, text := range all[at:] {
		if _, err := tx.ExecContext(ctx, text); err != nil {
			return fmt.Errorf("migration %d: %w", at+i+1, err)
		}
		if _, err := tx.ExecContext(ctx, "INSERT INTO "+s.d.Name+" (version, applied) VALUES ($1, $2)", //nolint:gosec // the name is the program's own
			at+i+1, time.Now().UnixMicro()); err != nil {
			return err
		}
	}
	return nil
}
