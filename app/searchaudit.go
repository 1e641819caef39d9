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
	err := s.audit.Search(ctx, q, func(line []byte, _ *audit.Event) bool {
		if asked.Limit > 0 && len(found) == 2*asked.Limit { // not at every record: there may be many
			found = append(found[:0], found[asked.Limit:]...)
		}
		found = append(found, bytes.Clone(line))
		return true
	})
	if asked.Limit > 0 {
		found = found[max(0, len(found)-asked.Limit):]
	}
	return func(yield func(json.RawMessage, error) bool) {
		for _, line := range found {
			if !yield(line, nil) {
				return
			}
		}
	}, err
}
