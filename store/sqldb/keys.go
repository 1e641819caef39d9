package sqldb

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/toolcrib/toolcrib/store"
)

// columns are those of toolcrib_keys, in the order of row.
const columns = "id, name, tenant, facts, digest, previous, previous_until, created, creator, rotated, expires, revoked, used"

// facts are what of a principal no query asks for.
type facts struct {
	Groups     []string          `json:"groups,omitempty"`
	Roles      []string          `json:"roles,omitempty"`
	Scopes     []string          `json:"scopes,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// micros is a time in the database: microseconds since 1970, or 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func moment(micros int64) time.Time {
	if micros == 0 {
		return time.Time{}
	}
	return time.UnixMicro(micros).UTC()
}

func scan(row interface{ Scan(dest ...any) error }) (*store.Key, error) {
	k := new(store.Key)
	var text string
	var digest, previous []byte
	var until, created, rotated, expires, revoked, used int64
	err := row.Scan(&k.ID, &k.Name, &k.Tenant, &text, &digest, &previous, &until, &created, &k.Creator, &rotated, &expires, &revoked, &used)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	var f facts
	if err := json.Unmarshal([]byte(text), &f); err != nil {
		return nil, fmt.Errorf("key %s: %w", k.ID, err)
	}
	if copy(k.Digest[:], digest) != len(k.Digest) {
		return nil, fmt.Errorf("key %s: its digest has %d bytes", k.ID, len(digest))
	}
	copy(k.Previous[:], previous)
	k.Groups, k.Roles, k.Scopes, k.Attributes = f.Groups, f.Roles, f.Scopes, f.Attributes
	k.PreviousUntil, k.Created, k.Rotated = moment(until), moment(created), moment(rotated)
	k.Expires, k.Revoked, k.Used = moment(expires), moment(revoked), moment(used)
	return k, nil
}

// KeysRevision implements store.KeyStore.
func (s *DB) KeysRevision(ctx context.Context) (n int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	err = s.db.QueryRowContext(ctx, "SELECT n FROM toolcrib_revisions WHERE what = 'keys'").Scan(&n)
	return n, err
}

// Keys implements store.KeyStore.
func (s *DB) Keys(ctx context.Context) ([]*store.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	rows, err := s.db.QueryContext(ctx, "SELECT "+columns+" FROM toolcrib_keys WHERE revoked = 0 ORDER BY tenant, name")
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var all []*store.Key
	for rows.Next() {
		k, err := scan(rows)
		if err != nil {
			return nil, err
		}
		all = append(all, k)
	}
	return all, rows.Err()
}

// Key implements store.KeyStore.
func (s *DB) Key(ctx context.Context, id string) (*store.Key, error) {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return scan(s.db.QueryRowContext(ctx, "SELECT "+columns+" FROM toolcrib_keys WHERE id = $1", id))
}

// KeysUsed implements store.KeyStore. Rows are taken in one order, or two replicas could wait for each other.
func (s *DB) KeysUsed(ctx context.Context, at map[string]time.Time) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		for _, id := range slices.Sorted(maps.Keys(at)) {
			if _, err := tx.ExecContext(ctx, "UPDATE toolcrib_keys SET used = $1 WHERE id = $2 AND used < $1", micros(at[id]), id); err != nil {
				return err
			}
		}
		return nil
	})
}

// AddKey implements store.Store.
func (s *DB) AddKey(ctx context.Context, k *store.Key) error {
	return s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := advance(ctx, tx); err != nil {
			return err
		}
		n := 0
		if err := tx.QueryRowContext(ctx, "SELECT COUNT(*) FROM toolcrib_keys WHERE revoked = 0").Scan(&n); err != nil {
			return err
		}
		if n >= store.KeysMost {
			return store.ErrFull
		}
		return s.insert(ctx, tx, k)
	})
}

// AddFirstKey implements store.Store.
func (s *DB) AddFirstKey(ctx context.Context, k *store.Key) (added bool, err error) {
	err = s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		done, err := tx.ExecContext(ctx, "UPDATE toolcrib_revisions SET n = 1 WHERE what = 'keys' AND n = 0")
		if err != nil {
			return err
		}
		if n, err := done.RowsAffected(); err != nil || n == 0 {
			return err
		}
		added = true
		return s.insert(ctx, tx, k)
	})
	return added && err == nil, err
}

// RotateKey implements store.Store.
func (s *DB) RotateKey(ctx context.Context, id string, d store.Digest, now, previousUntil time.Time) (*store.Key, error) {
	return s.update(ctx, "UPDATE toolcrib_keys SET previous = digest, digest = $2, rotated = $3, previous_until = $4 "+
		"WHERE id = $1 AND revoked = 0 RETURNING "+columns,
		id, d[:], micros(now), micros(previousUntil))
}

// RevokeKey implements store.Store.
func (s *DB) RevokeKey(ctx context.Context, id string, now time.Time) (*store.Key, error) {
	return s.update(ctx, "UPDATE toolcrib_keys SET revoked = $2 WHERE id = $1 AND revoked = 0 RETURNING "+columns, id, micros(now))
}

func (s *DB) update(ctx context.Context, query string, args ...any) (k *store.Key, err error) {
	err = s.change(ctx, func(ctx context.Context, tx *sql.Tx) error {
		if err := advance(ctx, tx); err != nil {
			return err
		}
		k, err = scan(tx.QueryRowContext(ctx, query, args...))
		return err
	})
	return k, err
}

func (s *DB) change(ctx context.Context, f func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	return s.within(ctx, func(tx *sql.Tx) error { return f(ctx, tx) })
}

// advance comes first in a transaction: those that change keys wait for each other at the row.
func advance(ctx context.Context, tx *sql.Tx) error {
	_, err := tx.ExecContext(ctx, "UPDATE toolcrib_revisions SET n = n + 1 WHERE what = 'keys'")
	return err
}

func (s *DB) insert(ctx context.Context, tx *sql.Tx, k *store.Key) error {
	text, err := json.Marshal(facts{k.Groups, k.Roles, k.Scopes, k.Attributes})
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO toolcrib_keys ("+columns+") VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
		k.ID, k.Name, k.Tenant, string(text), k.Digest[:], k.Previous[:], micros(k.PreviousUntil), micros(k.Created), k.Creator,
		micros(k.Rotated), micros(k.Expires), micros(k.Revoked), micros(k.Used))
	if err != nil && s.d.Taken(err) {
		return fmt.Errorf("%w: %q of tenant %q", store.ErrTaken, k.Name, k.Tenant)
	}
	return err
}
