// Package postgres is the store that replicas share: a PostgreSQL database, in which all names begin with toolcrib_.
package postgres

import (
	"cmp"
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/toolcrib/toolcrib/store"
	"github.com/toolcrib/toolcrib/store/sqldb"
)

//go:embed migrations/*.sql
var files embed.FS

const (
	dialTime    = 5 * time.Second
	idleTime    = 5 * time.Minute
	connections = 8
	unique      = "23505" // unique_violation
	// lock is an advisory lock that nobody else is likely to take; it ends with the transaction.
	lock = "SELECT pg_advisory_xact_lock(8386093181725421)"
)

// Open opens the database at a postgres:// URL. Errors tell host and database, never the password.
func Open(ctx context.Context, address string) (store.Store, error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, err
	}
	config, err := parse(address)
	if err != nil {
		return nil, fmt.Errorf("store: %w", err)
	}
	db := connect(config)
	s, err := sqldb.Open(ctx, db, dialect(&sqldb.Schema{Name: sqldb.StoreSchema, Migrations: migrations}))
	if err != nil {
		db.Close()
		return nil, fmt.Errorf("store: PostgreSQL at %s, database %q: %w", config.Host, config.Database, err)
	}
	return s, nil
}

// Inspect looks at the database at a postgres:// URL, without changing anything. server is its version, ahead how far its clock is
// before this one.
func Inspect(ctx context.Context, address string) (in *sqldb.Inspection, server string, ahead time.Duration, err error) {
	migrations, err := fs.Sub(files, "migrations")
	if err != nil {
		return nil, "", 0, err
	}
	config, err := parse(address)
	if err != nil {
		return nil, "", 0, err
	}
	db := connect(config)
	defer db.Close()
	if in, err = sqldb.Inspect(ctx, db, dialect(&sqldb.Schema{Name: sqldb.StoreSchema, Migrations: migrations})); err != nil {
		return nil, "", 0, fmt.Errorf("PostgreSQL at %s, database %q: %w", config.Host, config.Database, err)
	}
	var at time.Time
	began := time.Now()
	if err = db.QueryRowContext(ctx, "SELECT current_setting('server_version'), clock_timestamp()").Scan(&server, &at); err != nil {
		return nil, "", 0, err
	}
	return in, server, at.Sub(began.Add(time.Since(began) / 2)), nil
}

// OpenTables is Open for tables that are no store's.
func OpenTables(ctx context.Context, address string, tables *sqldb.Schema) (*sql.DB, error) {
	config, err := parse(address)
	if err != nil {
		return nil, err
	}
	db := connect(config)
	if err := sqldb.Migrate(ctx, db, dialect(tables)); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("PostgreSQL at %s, database %q: %w", config.Host, config.Database, err)
	}
	return db, nil
}

// Rehearse does a statement in a transaction that is rolled back. made is false where there is no such table yet.
func Rehearse(ctx context.Context, address, statement string, args ...any) (made bool, err error) {
	config, err := parse(address)
	if err != nil {
		return false, err
	}
	db := connect(config)
	defer db.Close()
	err = sqldb.Rehearse(ctx, db, statement, args...)
	const undefinedTable = "42P01"
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == undefinedTable {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("PostgreSQL at %s, database %q: %w", config.Host, config.Database, err)
	}
	return true, nil
}

func dialect(s *sqldb.Schema) *sqldb.Dialect {
	return &sqldb.Dialect{Schema: *s, Lock: lock, Taken: taken}
}

func parse(address string) (*pgx.ConnConfig, error) {
	config, err := pgx.ParseConfig(address)
	if err != nil {
		return nil, errors.New("not the address of a PostgreSQL database; write postgres://user:password@host/database")
	}
	config.ConnectTimeout = cmp.Or(config.ConnectTimeout, dialTime)
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "toolcrib"
	}
	return config, nil
}

func connect(config *pgx.ConnConfig) *sql.DB {
	db := stdlib.OpenDB(*config)
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(1)
	db.SetConnMaxIdleTime(idleTime)
	return db
}

func taken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == unique
}
