package audit

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"strconv"
	"strings"
	"unicode/utf8"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/store/postgres"
	"github.com/toolcrib/toolcrib/store/sqldb"
	"github.com/toolcrib/toolcrib/store/sqlite"
)

//go:embed migrations/*.sql
var migrations embed.FS

// tables are those of the audit log, which may share a database with a store.
func tables() (*sqldb.Schema, error) {
	files, err := fs.Sub(migrations, "migrations")
	return &sqldb.Schema{Name: "toolcrib_audit_schema", Migrations: files}, err
}

// table is a sink that is a table of a database. A record that comes again is there already, by its log and its number.
type table struct {
	open func(context.Context, *sqldb.Schema) (*sql.DB, error)
	log  string
	db   *sql.DB
}

func newSQLite(spec *v1.AuditSink, o *Options, stateDir string) (Follower, error) {
	path := pathOf(spec.SQLite, stateDir)
	return &table{log: o.id, open: func(ctx context.Context, s *sqldb.Schema) (*sql.DB, error) {
		return sqlite.OpenTables(ctx, path, s)
	}}, nil
}

func newPostgres(spec *v1.AuditSink, o *Options, _ string) (Follower, error) {
	address := string(spec.Postgres)
	return &table{log: o.id, open: func(ctx context.Context, s *sqldb.Schema) (*sql.DB, error) {
		return postgres.OpenTables(ctx, address, s)
	}}, nil
}

// Rehearse inserts a record into the table of a sink that is a database, in a transaction that is rolled back. made is false where
// the table is not there yet.
func Rehearse(ctx context.Context, s *v1.AuditSink, stateDir string) (made bool, err error) {
	t := &table{log: "rehearsal"}
	record := t.values([]Line{{Raw: []byte("{}")}})
	if s.SQLite != "" {
		return sqlite.Rehearse(ctx, pathOf(s.SQLite, stateDir), statement(1), record...)
	}
	return postgres.Rehearse(ctx, string(s.Postgres), statement(1), record...)
}

const (
	rowsMost = 100 // that one statement inserts
	columns  = 12
)

// Send implements Follower.
func (t *table) Send(ctx context.Context, lines []Line) error {
	if t.db == nil {
		s, err := tables()
		if err != nil {
			return err
		}
		if t.db, err = t.open(ctx, s); err != nil {
			t.db = nil
			return timely(ctx, err)
		}
	}
	return timely(ctx, t.insert(ctx, lines))
}

// timely says it plainly when there was no time for more.
func timely(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return unreached("the database", context.Cause(ctx))
	}
	return err
}

func (t *table) insert(ctx context.Context, lines []Line) error {
	tx, err := t.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	for len(lines) > 0 {
		some := lines[:min(len(lines), rowsMost)]
		lines = lines[len(some):]
		if _, err := tx.ExecContext(ctx, statement(len(some)), t.values(some)...); err != nil {
			return errors.Join(err, quiet(tx.Rollback()))
		}
	}
	return tx.Commit()
}

// quiet leaves out that a transaction has ended already.
func quiet(err error) error {
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	return err
}

// statement inserts n rows.
func statement(n int) string {
	var b strings.Builder
	b.WriteString("INSERT INTO toolcrib_audit (log, seq, time, tenant, subject, operation, server, target, outcome, decision, rule, record) VALUES ")
	for i := range n * columns {
		switch {
		case i == 0:
			b.WriteString("(")
		case i%columns == 0:
			b.WriteString("), (")
		default:
			b.WriteString(", ")
		}
		b.WriteString("$" + strconv.Itoa(i+1))
	}
	b.WriteString(") ON CONFLICT (log, seq) DO NOTHING")
	return b.String()
}

func (t *table) values(lines []Line) []any {
	all := make([]any, 0, len(lines)*columns)
	for _, l := range lines {
		e, err := ParseEvent(l.Raw)
		if err != nil {
			e = &Event{}
		}
		_, target := e.Target()
		all = append(all, t.log, int64(l.Sequence), e.Time)
		for _, s := range [...]string{
			e.Metadata.Tenant, e.Subject(), e.Operation(), e.Server(), target, e.Outcome, e.Decision, e.Rule(), string(l.Raw),
		} {
			all = append(all, storable(s))
		}
	}
	return all
}

// storable is a text that every database takes: PostgreSQL has none with a NUL, or that is not UTF-8.
func storable(s string) string {
	if strings.IndexByte(s, 0) < 0 && utf8.ValidString(s) {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\ufffd"), "\x00", "\ufffd")
}

// Close implements Follower.
func (t *table) Close() error {
	if t.db == nil {
		return nil
	}
	return t.db.Close()
}
