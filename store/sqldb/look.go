package sqldb

import (
	"context"
	"database/sql"
	"time"
)

// Inspection is what was found of a database.
type Inspection struct {
	// Version is that of its tables, 0 where there are none; Known is the one that this program makes.
	Version, Known int
	// Latency is how long a question took.
	Latency time.Duration
}

// Inspect looks at a database, without changing anything.
func Inspect(ctx context.Context, db *sql.DB, d *Dialect) (*Inspection, error) {
	all, err := migrations(d.Migrations)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	if err := db.PingContext(ctx); err != nil {
		return nil, err
	}
	in := &Inspection{Known: len(all)}
	began := time.Now()
	if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
		return nil, err
	}
	in.Latency = time.Since(began)
	s := &DB{db: db, d: d}
	if in.Version, err = s.version(ctx, db); err != nil {
		in.Version = 0 // the table is not there
	}
	return in, ctx.Err()
}

// Rehearse executes a statement in a transaction that is rolled back.
func Rehearse(ctx context.Context, db *sql.DB, statement string, args ...any) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // which the end of the connection does too
	_, err = tx.ExecContext(ctx, statement, args...)
	return err
}
