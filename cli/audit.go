package cli

import (
	"bufio"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/audit"
	"github.com/toolcrib/toolcrib/control"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/pinning"
)

// auditCmd are the commands about the audit log.
type auditCmd struct {
	Verify auditVerifyCmd `cmd:"" help:"Check that nothing in an audit log was changed, and that nothing is missing."`
	Search auditSearchCmd `cmd:"" help:"Find records in an audit log."`
	Key    auditKeyCmd    `cmd:"" help:"Print the public key of the audit log's signatures."`
}

// auditLog is where the log is.
type auditLog struct {
	Config   string `short:"c" placeholder:"FILE" help:"Configuration of the gateway; it names the log where no path is given."`
	gateways `embed:""`
}

// config is the configuration, or, without one, the defaults with the state directory.
func (a *auditLog) config(sys *system) (*v1.Config, error) {
	if a.Config != "" {
		c, err := readConfig(a.Config)
		if err == nil && a.StateDir != "" {
			c.StateDir = a.StateDir
		}
		return c, err
	}
	dir, err := a.dir(sys.stderr, "")
	if err != nil {
		return nil, err
	}
	c := v1.New()
	c.StateDir = dir
	return c, nil
}

// logs are the logs at some paths, else those of the configuration.
func (a *auditLog) logs(sys *system, paths []string) ([]string, error) {
	if len(paths) == 0 {
		c, err := a.config(sys)
		if err != nil {
			return nil, err
		}
		path := audit.PathOf(c)
		if path == "" {
			path = audit.DefaultPath(c.StateDir)
		}
		paths = []string{path}
	}
	var all []string
	for _, path := range paths {
		logs, err := audit.LogsAt(path)
		if err != nil {
			return nil, failf("%w", err)
		}
		all = append(all, logs...)
	}
	return all, nil
}

type auditVerifyCmd struct {
	Paths    []string `arg:"" optional:"" name:"path" help:"Log, or directory with logs (default: that of the configuration)."`
	Key      []string `placeholder:"FILE" help:"Public keys in PEM, as \"toolcrib audit key\" prints them (default: that of the configuration)."`
	Expect   []string `placeholder:"SEQUENCE:HASH" help:"A line that the log must have, with its hash, as noted when it was verified before."`
	Part     bool     `help:"The files are a part of a log: what is before and behind them, and its head, are elsewhere."`
	Output   string   `short:"o" enum:"text,json" default:"text" help:"text or json."`
	auditLog `embed:""`
}

func (*auditVerifyCmd) Help() string {
	return `Checks every line of a log with all its files: that it is as it was written, that
it follows the line before, that the signatures of the checkpoints are good, and
that the log goes as far as its head says. The first fault is named with file,
line and sequence number.

Whoever can write to the log and its head, but has not the key, can still put
back an older state of both. Note the last line that verify shows somewhere
else, and give it with --expect the next time.

Examples:

    toolcrib audit verify -c toolcrib.yaml
    toolcrib audit verify /var/log/toolcrib/audit.jsonl --key audit.pub
    toolcrib audit verify --expect 1042:5f0c…e1 backup/audit

Exit codes: 0 nothing is wrong, 1 something is, 2 the command line is wrong.
`
}

func (c *auditVerifyCmd) Run(ctx context.Context, sys *system) error {
	o := audit.VerifyOptions{Part: c.Part}
	var err error
	if o.Expect, err = expected(c.Expect); err != nil {
		return err
	}
	if o.Keys, err = c.keys(sys); err != nil {
		return err
	}
	logs, err := c.logs(sys, c.Paths)
	if err != nil {
		return err
	}
	if len(logs) > 1 && len(o.Expect) > 0 {
		return usagef("--expect is about one log; name it")
	}
	reports, bad := []*audit.Report{}, 0
	for _, path := range logs {
		r, err := audit.Verify(ctx, path, o)
		if err != nil {
			return failf("%w", err)
		}
		if r.Fault != nil {
			bad++
		}
		reports = append(reports, r)
	}
	if c.Output == "json" {
		err = writeJSON(sys.stdout, map[string]any{"logs": reports})
	} else {
		verifyText(sys.stdout, reports)
	}
	if err == nil && bad > 0 {
		err = &exitError{code: ExitFailed} // all was said
	}
	return err
}

func expected(texts []string) (map[uint64]string, error) {
	all := map[uint64]string{}
	for _, text := range texts {
		number, sum, _ := strings.Cut(text, ":")
		seq, err := strconv.ParseUint(number, 10, 64)
		if err != nil || len(sum) != 64 || strings.Trim(sum, "0123456789abcdef") != "" {
			return nil, usagef("--expect %q is not SEQUENCE:HASH, as verify shows it", text)
		}
		all[seq] = sum
	}
	return all, nil
}

func (c *auditVerifyCmd) keys(sys *system) (map[string]ed25519.PublicKey, error) {
	all := map[string]ed25519.PublicKey{}
	for _, file := range c.Key {
		text, err := os.ReadFile(file)
		if err != nil {
			return nil, usagef("--key: %w", err)
		}
		keys, err := audit.ParseKeys(text)
		if err != nil {
			return nil, usagef("--key %s %w", file, err)
		}
		maps.Copy(all, keys)
	}
	if len(all) > 0 {
		return all, nil
	}
	config, err := c.config(sys)
	if err != nil {
		return nil, err
	}
	text, err := audit.PublicKey(config)
	if err != nil {
		return nil, failf("there is no key to check signatures with: %w; give one with --key, as \"toolcrib audit key\" prints it", err)
	}
	return audit.ParseKeys(text)
}

func verifyText(out io.Writer, reports []*audit.Report) {
	for _, r := range reports {
		for _, n := range r.Notes {
			_, _ = fmt.Fprintf(out, "%s: %s\n", r.Path, n)
		}
		if r.Fault != nil {
			_, _ = fmt.Fprintf(out, "%s\n", r.Fault.Error())
			continue
		}
		_, _ = fmt.Fprintf(out, "%s: good: %d lines in %d files, %d to %d; %d checkpoints, signed up to %d\n  the last line is %d:%s\n",
			r.Path, r.Lines, r.Files, r.First, r.Last, r.Checkpoints, r.Signed, r.Last, r.Hash)
		if r.Unsigned > 0 {
			_, _ = fmt.Fprintf(out, "  %s behind %d unsigned, and nobody writes the log: its gateway did not end well, or they were put there\n",
				count(int(r.Unsigned), "line"), r.Signed)
		}
	}
}

type auditSearchCmd struct {
	Paths     []string `arg:"" optional:"" name:"path" help:"Log, or directory with logs (default: that of the configuration)."`
	Since     string   `placeholder:"TIME" help:"Not before that: 2026-12-31T00:00:00Z, 2026-12-31, or how long ago: 2h, 7d."`
	Until     string   `placeholder:"TIME" help:"Before that."`
	Subject   string   `placeholder:"NAME" help:"Caller. In this and the following, * stands for any characters."`
	Tenant    string   `placeholder:"NAME" help:"Tenant."`
	Server    string   `placeholder:"NAME" help:"Server."`
	Tool      string   `placeholder:"NAME" help:"Tool or prompt, by the server's own name."`
	Operation string   `placeholder:"METHOD" help:"What was asked: tools/call, or of the management interface: keys.create."`
	Outcome   string   `placeholder:"WORD" help:"How it ended: ok, error, tool_error, not_found, unauthenticated, …"`
	Decision  string   `enum:"allowed,denied," default:"" help:"allowed or denied."`
	Session   string   `placeholder:"HASH" help:"Session, by its hash as records have it."`
	Text      string   `placeholder:"TEXT" help:"That stands anywhere in the line."`
	Own       bool     `help:"With what the log tells of itself: starts, checkpoints."`
	Lines     int      `short:"n" default:"0" help:"Only the last so many; 0 is all."`
	URL       string   `placeholder:"URL" help:"Ask this gateway over the network, with a credential that may do audit:read: its last 10,000 records at most."`
	Output    string   `short:"o" enum:"text,json" default:"text" help:"text, or json: the lines as they are in the log."`
	auditLog  `embed:""`
}

func (*auditSearchCmd) Help() string {
	return `Shows records of the audit log that fit everything that is given, oldest first,
over all files of the log, and of the logs beside it that other processes write.

Examples:

    toolcrib audit search --since 1h --decision denied
    toolcrib audit search --subject alice --tool "delete_*" -o json
    toolcrib audit search /var/log/toolcrib/audit.jsonl --text 0af7651916cd43dd
    toolcrib audit search --url https://tools.example.com --operation "keys.*" -n 20

Exit codes: 0 shown, 1 the log cannot be read, 2 the command line is wrong.
`
}

func (c *auditSearchCmd) Run(ctx context.Context, sys *system) error {
	q, err := c.query(time.Now())
	if err != nil {
		return err
	}
	show := &recordTable{out: tabwriter.NewWriter(sys.stdout, 0, 0, 2, ' ', 0)}
	take := show.row
	if c.Output == "json" {
		take = func(line []byte, _ *audit.Event) error {
			_, err := fmt.Fprintf(sys.stdout, "%s\n", line)
			return err
		}
	}
	last := &lastRecords{n: c.Lines, take: take}
	if c.URL != "" {
		return errors.Join(c.elsewhere(ctx, q, last.add), last.flush(), show.out.Flush())
	}
	for _, path := range c.Paths {
		if _, err := os.Stat(path); err != nil {
			return failf("%w", err)
		}
	}
	logs, err := c.logs(sys, c.Paths)
	if err != nil {
		return err
	}
	if err := audit.SearchAll(ctx, logs, *q, last.add); err != nil {
		return failf("%w", err)
	}
	return errors.Join(last.flush(), show.out.Flush())
}

const remoteRecords = 10_000

// elsewhere asks a gateway for the records.
func (c *auditSearchCmd) elsewhere(ctx context.Context, q *audit.Query, take func([]byte, *audit.Event) bool) error {
	if len(c.Paths) > 0 || c.Own {
		return usagef("--url asks a gateway: neither a path nor --own goes with it")
	}
	query := url.Values{"limit": {strconv.Itoa(remoteRecords)}}
	if c.Lines > 0 {
		query.Set("limit", strconv.Itoa(min(c.Lines, remoteRecords)))
	}
	for name, value := range map[string]string{
		"subject": q.Subject, "tenant": q.Tenant, "server": q.Server, "tool": q.Tool, "operation": q.Operation, "outcome": q.Outcome,
		"decision": q.Decision, "session": q.Session, "text": q.Text, "since": stampOf(q.Since), "until": stampOf(q.Until),
	} {
		if value != "" {
			query.Set(name, value)
		}
	}
	g := gatewayFlags{URL: c.URL}
	return g.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		body, err := r.Stream(ctx, "audit", query)
		if err != nil {
			return err
		}
		defer body.Close()
		lines := bufio.NewScanner(body)
		lines.Buffer(nil, 16<<20)
		for lines.Scan() {
			e, err := audit.ParseEvent(lines.Bytes())
			if err != nil {
				return fmt.Errorf("a record of %s cannot be read: %w", r.Base, err)
			}
			if !take(lines.Bytes(), e) {
				return nil
			}
		}
		return lines.Err()
	})
}

func stampOf(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}

func (c *auditSearchCmd) query(now time.Time) (*audit.Query, error) {
	q := &audit.Query{
		Subject: c.Subject, Tenant: c.Tenant, Server: c.Server, Tool: c.Tool, Operation: c.Operation, Outcome: c.Outcome,
		Decision: c.Decision, Session: c.Session, Text: c.Text, Own: c.Own,
	}
	var err error
	if q.Since, err = moment("--since", c.Since, now); err != nil {
		return nil, err
	}
	if c.Lines < 0 {
		return nil, usagef("--lines must not be less than 0")
	}
	if err := q.Check(); err != nil {
		return nil, usagef("%s", errs.Of(err).Text())
	}
	q.Until, err = moment("--until", c.Until, now)
	return q, err
}

// moment reads a time, or how long ago it is.
func moment(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	var ago v1.Duration
	if ago.UnmarshalText([]byte(text)) == nil {
		return now.Add(-ago.D()), nil
	}
	for _, form := range []string{time.RFC3339, time.DateTime, time.DateOnly} {
		if t, err := time.ParseInLocation(form, text, now.Location()); err == nil {
			return t, nil
		}
	}
	return time.Time{}, usagef("%s %q is no time; write 2026-12-31T00:00:00Z, 2026-12-31, or how long ago: 2h, 7d", flag, text)
}

// lastRecords hands records on, all or only the last.
type lastRecords struct {
	n    int
	take func([]byte, *audit.Event) error
	kept []keptRecord
	err  error
}

type keptRecord struct {
	line  []byte
	event *audit.Event
}

func (l *lastRecords) add(line []byte, e *audit.Event) bool {
	if l.n == 0 {
		l.err = l.take(line, e)
		return l.err == nil
	}
	if len(l.kept) == 2*l.n { // not at every record: there may be many
		l.kept = append(l.kept[:0], l.kept[l.n:]...)
	}
	l.kept = append(l.kept, keptRecord{append([]byte(nil), line...), e})
	return true
}

func (l *lastRecords) flush() error {
	for _, k := range l.kept[max(0, len(l.kept)-l.n):] {
		if l.err == nil {
			l.err = l.take(k.line, k.event)
		}
	}
	return l.err
}

// recordTable shows a row for each record.
type recordTable struct {
	out    *tabwriter.Writer
	headed bool
}

func (t *recordTable) row(_ []byte, e *audit.Event) error {
	if !t.headed {
		t.headed = true
		_, _ = fmt.Fprintln(t.out, "SEQUENCE\tTIME\tTENANT\tSUBJECT\tOPERATION\tSERVER\tTARGET\tOUTCOME\tDECISION\tTOOK\tRULE")
	}
	_, name := e.Target()
	took := time.Duration(e.Unmapped.Took) * time.Microsecond
	_, err := fmt.Fprintf(t.out, "%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", e.Metadata.Sequence, e.When().Format("2006-01-02T15:04:05.000Z07:00"),
		cell(e.Metadata.Tenant), cell(e.Subject()), cell(e.Operation()), cell(e.Server()), cell(name), cell(e.Outcome),
		cell(strings.ToLower(e.Decision)), took, cell(e.Rule()))
	return err
}

// cell shows a text from outside so that it neither steers a terminal nor hides.
func cell(text string) string { return orDash(pinning.Inert(text)) }

type auditKeyCmd struct {
	auditLog `embed:""`
}

func (*auditKeyCmd) Help() string {
	return `Prints the public key, in PEM, that the signatures of the audit log are checked
with. Keep it elsewhere than the log.

Examples:

    toolcrib audit key > audit.pub
    toolcrib audit key -c toolcrib.yaml

Exit codes: 0 printed, 1 there is no key yet, 2 the command line is wrong.
`
}

func (c *auditKeyCmd) Run(sys *system) error {
	config, err := c.config(sys)
	if err != nil {
		return err
	}
	text, err := audit.PublicKey(config)
	if err != nil {
		return failf("%w", err)
	}
	_, err = sys.stdout.Write(text)
	return err
}
