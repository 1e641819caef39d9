package audit

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"iter"
	"os"
	"slices"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// Event is a line of the log as those read it who want its members. What a record does not have is empty.
type Event struct {
	Metadata struct {
		Sequence uint64 `json:"sequence"`
		Tenant   string `json:"tenant_uid"`
	} `json:"metadata"`
	Class    int    `json:"class_uid"`
	Severity int    `json:"severity_id"`
	Time     int64  `json:"time"` // milliseconds since 1970
	Status   string `json:"status"`
	Outcome  string `json:"status_code"`
	Detail   string `json:"status_detail"`
	Decision string `json:"action"`
	Reasons  []struct {
		Policy struct {
			Name string `json:"name"`
		} `json:"policy"`
	} `json:"authorizations"`
	Actor struct {
		User    EventUser `json:"user"`
		Session struct {
			UID string `json:"uid"`
		} `json:"session"`
		Client string `json:"app_name"`
	} `json:"actor"`
	User EventUser `json:"user"` // of a refused credential
	From struct {
		IP   string `json:"ip"`
		Port int    `json:"port"`
	} `json:"src_endpoint"`
	API struct {
		Operation string `json:"operation"`
		Service   struct {
			Name string `json:"name"`
		} `json:"service"`
		Group struct {
			Name string `json:"name"`
		} `json:"group"`
		Response struct {
			Code int64 `json:"code"`
		} `json:"response"`
	} `json:"api"`
	Resources []struct {
		Type string `json:"type"`
		Name string `json:"name"`
	} `json:"resources"`
	Request struct {
		URL struct {
			Path string `json:"path"`
		} `json:"url"`
	} `json:"http_request"`
	Response struct {
		Code int `json:"code"`
	} `json:"http_response"`
	Trace struct {
		UID string `json:"uid"`
	} `json:"trace"`
	Unmapped struct {
		Operation string `json:"operation"`
		Server    string `json:"server"`
		Tool      string `json:"tool"`
		Replica   string `json:"replica"`
		Took      int64  `json:"took_us"`
		Chain     struct {
			Hash string `json:"hash"`
		} `json:"chain"`
	} `json:"unmapped"`
}

// EventUser is the caller.
type EventUser struct {
	Name string `json:"name"`
}

// ParseEvent reads a line of the log.
func ParseEvent(line []byte) (*Event, error) {
	e := &Event{}
	if err := json.Unmarshal(line, e); err != nil {
		return nil, err
	}
	return e, nil
}

// Subject is the caller's name.
func (e *Event) Subject() string {
	if e.Actor.User.Name != "" {
		return e.Actor.User.Name
	}
	return e.User.Name
}

// Operation is what was asked, or what the log tells of itself.
func (e *Event) Operation() string {
	if e.API.Operation != "" {
		return e.API.Operation
	}
	return e.Unmapped.Operation
}

// Server is the one that it was asked of, or that the log tells of.
func (e *Event) Server() string {
	if e.API.Service.Name != "" {
		return e.API.Service.Name
	}
	return e.Unmapped.Server
}

// Target is what it was asked of, or what the log tells of: the sort, and the name.
func (e *Event) Target() (kind, name string) {
	switch {
	case len(e.Resources) > 0:
		return e.Resources[0].Type, e.Resources[0].Name
	case e.Unmapped.Tool != "":
		return "tool", e.Unmapped.Tool
	}
	return "", ""
}

// When is the time at which it began.
func (e *Event) When() time.Time { return time.UnixMilli(e.Time) }

// Rule is what decided.
func (e *Event) Rule() string {
	if len(e.Reasons) == 0 {
		return ""
	}
	return e.Reasons[0].Policy.Name
}

// Query says which records are looked for: those that fit everything that is given. In texts * stands for any characters.
type Query struct {
	Since, Until     time.Time
	Subject, Tenant  string
	Server, Tool     string
	Operation        string
	Outcome          string
	Decision         string // allowed or denied
	Session          string // the hash, as records have it
	Text             string // that stands anywhere in the line
	Own              bool   // with what the log tells of itself
	ExactTenant      bool   // in Tenant a * is one
	needles          [][]byte
	decision         string
	sinceMS, untilMS int64
}

// outcomes are the words for how something ended; those that gateways refuse with come from their kinds of errors.
func outcomes() []string {
	all := append(errs.Outcomes(), "ok", "error", "tool_error", "input_required", "conflict")
	slices.Sort(all)
	return all
}

// Check refuses a query that no record can fit, since it asks for an outcome or a decision that does not exist.
func (q *Query) Check() error {
	all := outcomes()
	if q.Outcome != "" && !slices.ContainsFunc(all, func(is string) bool { return v1.Like(q.Outcome, is) }) {
		return errs.E("audit", errs.Invalid, "outcome %.40q does not exist; the outcomes are %s", q.Outcome, strings.Join(all, ", "))
	}
	switch q.Decision {
	case "", "allowed", "denied":
		return nil
	}
	return errs.E("audit", errs.Invalid, "decision %.40q does not exist; the decisions are allowed and denied", q.Decision)
}

// ready makes the query quick to ask.
func (q *Query) ready() {
	q.needles = nil
	for _, text := range []string{q.Subject, q.Tenant, q.Server, q.Tool, q.Operation, q.Outcome, q.Session} {
		if text != "" && !strings.Contains(text, "*") {
			q.needles = append(q.needles, mcp.AppendString(nil, text))
		}
	}
	if q.Text != "" {
		q.needles = append(q.needles, []byte(q.Text))
	}
	if d := strings.ToLower(q.Decision); d != "" {
		q.decision = strings.ToUpper(d[:1]) + d[1:]
	}
	q.sinceMS, q.untilMS = q.Since.UnixMilli(), q.Until.UnixMilli()
}

// fits tells whether a line is looked for; e is what it says.
func (q *Query) fits(line []byte) (e *Event, ok bool) {
	for _, n := range q.needles {
		if !bytes.Contains(line, n) {
			return nil, false
		}
	}
	e, err := ParseEvent(line)
	if err != nil || e.Class == 6002 && !q.Own {
		return nil, false
	}
	if !q.Since.IsZero() && e.Time < q.sinceMS || !q.Until.IsZero() && e.Time >= q.untilMS {
		return nil, false
	}
	if q.ExactTenant && e.Metadata.Tenant != q.Tenant {
		return nil, false
	}
	kind, name := e.Target()
	if q.Tool != "" && kind != "tool" && kind != "prompt" || q.decision != "" && e.Decision != q.decision {
		return nil, false
	}
	for _, p := range [...]struct{ pattern, is string }{
		{q.Subject, e.Subject()},
		{q.Tenant, e.Metadata.Tenant},
		{q.Server, e.Server()},
		{q.Tool, name},
		{q.Operation, e.Operation()},
		{q.Outcome, e.Outcome},
		{q.Session, e.Actor.Session.UID},
	} {
		if p.pattern != "" && !v1.Like(p.pattern, p.is) {
			return nil, false
		}
	}
	return e, true
}

// slack is how much later than its time a record may have been written: calls last long.
const slack = 25 * time.Hour

// Search hands what a log has of a query to f, in the order of the log, until f returns false. The line is valid until then.
func Search(ctx context.Context, path string, q Query, f func(line []byte, e *Event) bool) error {
	q.ready()
	files := []logFile{{path: path}}
	if _, aside := asideOf(path); !aside {
		all, release, err := held(path)
		if err != nil {
			return err
		}
		defer release()
		files = all
	}
	for i := range files {
		if i+1 < len(files) && !q.Since.IsZero() && begun(files[i+1].path).Before(q.Since.Add(-slack)) {
			continue
		}
		more, err := searchFile(ctx, &files[i], &q, f)
		if err != nil || !more {
			return err
		}
	}
	return nil
}

// begun is the time of the first record of a file; now where it has none.
func begun(path string) time.Time {
	f, err := os.Open(path)
	if err != nil {
		return time.Now()
	}
	defer f.Close()
	at := time.Now()
	_ = eachLine(f, func(line []byte, _ bool) bool {
		if e, err := ParseEvent(line); err == nil {
			at = e.When()
		}
		return false
	})
	return at
}

func searchFile(ctx context.Context, at *logFile, q *Query, f func([]byte, *Event) bool) (more bool, err error) {
	file, err := at.open()
	if os.IsNotExist(err) {
		return true, nil // it is not kept any longer
	}
	if err != nil {
		return false, err
	}
	defer file.Close()
	more = true
	err = eachLine(file, func(line []byte, whole bool) bool {
		if !whole {
			return true
		}
		line = apart(line)
		if e, ok := q.fits(line); ok {
			more = f(line, e)
		}
		return more && ctx.Err() == nil
	})
	if err == nil {
		err = ctx.Err()
	}
	return more, err
}

// candidate is a record that a search has found in one of several logs.
type candidate struct {
	line []byte
	e    *Event
}

// SearchAll is [Search] in several logs at once: what they have is put in the order of time, but for what one log has in another
// order, which stays. The line is valid until f returns.
func SearchAll(ctx context.Context, paths []string, q Query, f func(line []byte, e *Event) bool) error {
	if len(paths) == 1 {
		return Search(ctx, paths[0], q, f)
	}
	failed := make([]error, len(paths))
	heads, nexts := make([]candidate, len(paths)), make([]func() (candidate, bool), len(paths))
	for i, path := range paths {
		next, stop := iter.Pull(func(yield func(candidate) bool) {
			failed[i] = Search(ctx, path, q, func(line []byte, e *Event) bool { return yield(candidate{line, e}) })
		})
		defer stop()
		nexts[i] = next
		heads[i], _ = next()
	}
	for {
		first := -1
		for i, c := range heads {
			if c.e != nil && (first < 0 || c.e.Time < heads[first].e.Time) {
				first = i
			}
		}
		if first < 0 || !f(heads[first].line, heads[first].e) {
			return errors.Join(failed...)
		}
		heads[first], _ = nexts[first]()
	}
}

// Search is [SearchAll] in this log and those beside it.
func (l *Log) Search(ctx context.Context, q Query, f func(line []byte, e *Event) bool) error {
	if l == nil || l.path == "" {
		return nil
	}
	logs, err := siblings(l.asked)
	if err != nil {
		return err
	}
	return SearchAll(ctx, logs, q, f)
}
