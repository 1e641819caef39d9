package app

import (
	"bytes"
	"context"
	"encoding/json"
	"iter"

	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/errs"
)

// foundMost bounds the bytes of records that are found: a record may hold the arguments of a call.
const foundMost = 64 << 20

// searchAudit finds the last records of this replica's audit log that fit a query.
func (s *server) searchAudit(ctx context.Context, asked control.AuditQuery) (iter.Seq2[json.RawMessage, error], error) {
	q := audit.Query{Since: asked.Since, Until: asked.Until, Tenant: asked.Tenant, ExactTenant: asked.Tenant != ""}
	fields := map[string]*string{
		"subject": &q.Subject, "server": &q.Server, "tool": &q.Tool, "operation": &q.Operation, "outcome": &q.Outcome,
		"decision": &q.Decision, "session": &q.Session, "text": &q.Text,
	}
	for name, value := range asked.Match {
		field := fields[name]
		if field == nil {
			return nil, errs.E("audit", errs.Invalid, "records have no %.40q to search by", name)
		}
		*field = value
	}
	if err := q.Check(); err != nil {
		return nil, err
	}
	var found []json.RawMessage
	size := 0
	err := s.audit.Search(ctx, q, func(line []byte, _ *audit.Event) bool {
		found, size = append(found, bytes.Clone(line)), size+len(line)
		for len(found) > asked.Limit || size > foundMost && len(found) > 1 {
			size -= len(found[0])
			found[0], found = nil, found[1:]
		}
		return true
	})
	return func(yield func(json.RawMessage, error) bool) {
		for _, line := range found {
			if !yield(line, nil) {
				return
			}
		}
	}, err
}
