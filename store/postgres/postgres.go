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
