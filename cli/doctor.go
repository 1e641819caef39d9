package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/doctor"
	"github.com/toolcrib/toolcrib/internal/evidence"
	"github.com/toolcrib/toolcrib/source"
)

type doctorCmd struct {
	File       string        `arg:"" help:"Configuration in YAML or JSON; the mcp.json of a client will do."`
	Production bool          `help:"Walk the checklist of an enterprise installation instead."`
	Only       []string      `placeholder:"CHECK" help:"Make this check alone; may be repeated."`
	Skip       []string      `placeholder:"CHECK" help:"Leave this check out; may be repeated."`
	Strict     bool          `help:"Exit with 1 for warnings too."`
	Timeout    time.Duration `placeholder:"TIME" help:"Give each check this time (default: 5s to 90s, as it takes)."`
	Manifests  string        `placeholder:"PATH" help:"Kubernetes manifests of the installation: a file, or a folder of them."`
	Prometheus string        `placeholder:"URL" help:"The Prometheus that scrapes the gateway, for --production."`
	Record     string        `placeholder:"DRILL" help:"Record that a drill was done now, in place of checking: load-test, failover or rotation."`
	Result     string        `placeholder:"TEXT" help:"With --record: how it went, in one line that begins with pass: or fail:."`
	Output     string        `short:"o" enum:"text,json" default:"text" help:"text or json."`
}

func (*doctorCmd) Help() string {
	var b strings.Builder
	b.WriteString(`Checks an installation and says what to mend. Nothing is changed; servers that are
commands are started for the occasion, and ended again. Run it as the user, and with
the environment, of the gateway.

`)
	for _, c := range doctor.Checks(false) {
		fmt.Fprintf(&b, "    %-14s %s\n", c.Name, c.About)
	}
	b.WriteString("\nWith --production:\n\n")
	for _, c := range doctor.Checks(true) {
		fmt.Fprintf(&b, "    %-14s %s\n", c.Name, c.About)
	}
	b.WriteString(`
Examples:

    toolcrib doctor mcp.json
    toolcrib doctor toolcrib.yaml --skip servers -o json
    toolcrib doctor toolcrib.yaml --production --manifests deploy/ --prometheus http://127.0.0.1:9090
    toolcrib doctor toolcrib.yaml --record failover --result "pass: killed Redis for 10 min, no call failed"

Exit codes: 0 nothing failed, 1 something did, 2 the command line is wrong.
`)
	return b.String()
}

func (c *doctorCmd) Run(ctx context.Context, sys *system) error {
	if c.Record != "" || c.Result != "" {
		return c.record(sys)
	}
	o := doctor.Options{
		File: c.File, Production: c.Production, Only: c.Only, Skip: c.Skip, Timeout: c.Timeout, Manifests: c.Manifests, Prometheus: c.Prometheus,
		Dial:  app.DialOptions{Guard: guardCommand(), Confine: confineCommand(), Version: version()},
		Token: tokenFor,
	}
	if problem := o.Unknown(); problem != "" {
		return usagef("%s", problem)
	}
	if err := o.Unreadable(); err != nil {
		return usagef("--manifests cannot be used: %v; name the rendered manifests of the gateway", err)
	}
	if c.Timeout < 0 {
		return usagef("--timeout must be longer than 0s")
	}
	return c.show(ctx, sys.stdout, &o)
}

// show tells of findings as they come, or all of them as JSON.
func (c *doctorCmd) show(ctx context.Context, out io.Writer, o *doctor.Options) error {
	report := diagnosis{Findings: []doctor.Finding{}}
	for f := range doctor.Examine(ctx, *o) {
		report.add(f)
		if c.Output == "text" {
			if err := findingText(out, f); err != nil {
				return err
			}
		}
	}
	if ctx.Err() != nil {
		return context.Canceled
	}
	report.OK = report.Fail == 0 && (report.Warn == 0 || !c.Strict)
	if c.Output == "json" {
		if err := writeJSON(out, report); err != nil {
			return err
		}
	} else {
		_, _ = fmt.Fprintf(out, "\n%d passed, %s, %d failed, %d not checked\n", report.Pass, count(report.Warn, "warning"), report.Fail, report.Unchecked)
	}
	if !report.OK {
		return &exitError{code: ExitFailed} // all is said
	}
	return nil
}

// diagnosis is the answer of doctor --output json.
type diagnosis struct {
	OK        bool             `json:"ok"`
	Pass      int              `json:"pass"`
	Warn      int              `json:"warn"`
	Fail      int              `json:"fail"`
	Unchecked int              `json:"notChecked"`
	Findings  []doctor.Finding `json:"findings"`
}

func (d *diagnosis) add(f doctor.Finding) {
	d.Findings = append(d.Findings, f)
	switch f.Status {
	case doctor.Pass:
		d.Pass++
	case doctor.Warn:
		d.Warn++
	case doctor.Fail:
		d.Fail++
	case doctor.Unchecked:
		d.Unchecked++
	}
}

// marks are what a finding begins with.
var marks = map[doctor.Status]string{doctor.Pass: "ok", doctor.Warn: "WARN", doctor.Fail: "FAIL", doctor.Unchecked: "-"}

func findingText(out io.Writer, f doctor.Finding) error {
	text := f.Text
	if f.About != "" {
		text = f.About + ": " + text
	}
	_, err := fmt.Fprintf(out, "%-4s  %-14s %s\n", marks[f.Status], f.Check, printable(text))
	if err == nil && f.Remedy != "" {
		_, err = fmt.Fprintf(out, "%-4s  %-14s → %s\n", "", "", printable(f.Remedy))
	}
	return err
}

// record keeps that a drill was done.
func (c *doctorCmd) record(sys *system) error {
	switch {
	case !slices.Contains(evidence.Names(), c.Record):
		return usagef("--record %q is none of %s", c.Record, strings.Join(evidence.Names(), ", "))
	case strings.TrimSpace(c.Result) == "":
		return usagef("--record needs --result: how it went, in one line")
	case !evidence.Judges(printable(c.Result)):
		return usagef("--result %q does not say whether it went well: begin it with pass: or fail:", printable(c.Result))
	}
	dir, err := (&source.File{Path: c.File}).StateDir()
	if err != nil {
		return fileError(err)
	}
	r := evidence.Record{At: time.Now().UTC().Truncate(time.Second), By: who(), Result: printable(c.Result)}
	if err := evidence.Write(dir, c.Record, r); err != nil {
		return err
	}
	_, err = fmt.Fprintln(sys.stdout, evidence.Path(dir, c.Record))
	return err
}

// who is the user that calls.
func who() string {
	me, err := user.Current()
	if err != nil {
		return "uid " + strconv.Itoa(os.Getuid())
	}
	return me.Username
}
