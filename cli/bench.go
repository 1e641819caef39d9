package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cli/bench"
	"github.com/toolcrib/toolcrib/cli/login"
	"github.com/toolcrib/toolcrib/internal/evidence"
)

type benchCmd struct {
	Target string `arg:"" optional:"" name:"url-or-file" help:"An endpoint, or the file of a gateway that runs here (default: TOOLCRIB_URL, else ${url})."`

	Rate        string        `placeholder:"N/s" help:"Open loop: so many requests a second (/m, /h), whether those before are answered or not (default: 50/s)."`
	Concurrency *int          `placeholder:"N" help:"Closed loop: so many callers, each of which sends when its last request is answered."`
	Think       time.Duration `help:"Of a closed loop: how long a caller waits on average before its next request." default:"0s"`
	Duration    time.Duration `help:"How long to measure." default:"30s"`
	Warmup      time.Duration `help:"How long to send before that without measuring." default:"3s"`
	Timeout     time.Duration `help:"Give up a request after this time." default:"30s"`

	Mix  string   `placeholder:"KIND=N,…" default:"connect=1,list=4,call=20,stream=1" help:"How often each kind of request comes: connect, list, call, stream."`
	Tool []string `placeholder:"NAME[=JSON]" sep:"none" help:"Call this tool, with these arguments or @FILE. May be repeated. Without it: tools that only read."`
	Era  string   `enum:",modern,legacy,both" default:"" help:"How callers speak: modern, legacy or both (default: the newest that the server speaks)."`

	MaxErrors string         `placeholder:"PCT" help:"Objective: at most so many percent of the requests fail."`
	P99       *time.Duration `name:"p99" placeholder:"D" help:"Objective: 99 of 100 requests are answered within this time."`

	JSON        string `name:"json" placeholder:"FILE" help:"Write the report as JSON (- for standard output, instead of the text)."`
	HTML        string `name:"html" placeholder:"FILE" help:"Write the report as a page with charts, which needs no network."`
	AllowRemote bool   `help:"Put load on a server that is not on this machine. Do that only to what is yours."`

	gateways `embed:""`
	root     string `kong:"-"` // the URL as it was given, where that has no path
}

func (*benchCmd) Help() string {
	return `Latency counts from when a request was due, so that a server that stalls is seen to
make all wait that came meanwhile. Requests that wait in vain count with the time
they waited. What the load generator adds itself is measured and told; a load that
it could not put on as asked for meets no objective.

Nothing is called but tools that say they only read (readOnlyHint) and whose
arguments are known from their schema, or those named with --tool. Addresses that
are not of this machine are refused without --allow-remote.

The credential is that of TOOLCRIB_API_KEY, or of "toolcrib login". Ctrl-C ends the
load and shows what was measured until then. A load that ran to its end is recorded
in the state directory, where "toolcrib doctor --production" looks for it.

Examples:

    toolcrib bench
    toolcrib bench http://127.0.0.1:8080/mcp --rate 200/s --duration 1m --html report.html
    toolcrib bench toolcrib.yaml --concurrency 20 --think 500ms --era both
    toolcrib bench --mix call=1 --tool 'search__find={"query": "zip"}' --p99 100ms --max-errors 0.1
    toolcrib bench https://tools.example.com/mcp --allow-remote --json - --tool echo=@request.json

The server is one that runs: where nothing listens, start it with "toolcrib serve FILE".

Exit codes: 0 done and every objective met, 1 an objective was missed or nothing was
answered, 2 the command line is wrong, 3 the server cannot be reached, 130 interrupted.
`
}

const defaultBenchRate = "50/s"

func (c *benchCmd) Run(ctx context.Context, sys *system) error {
	o, err := c.options(sys)
	if err != nil {
		return err
	}
	dir, err := c.aim(ctx, sys, o)
	if err != nil {
		return err
	}
	outputs, err := c.outputs()
	defer outputs.close()
	if err != nil {
		return err
	}
	live := newBenchProgress(sys.stderr)
	o.Progress = live.show
	report, err := bench.Run(ctx, o)
	if refusal, is := errors.AsType[*bench.Refusal](err); is && c.root != "" && refusal.Status == http.StatusNotFound {
		o.URL, o.Target = c.root, address(c.root) // a server that has no /mcp
		report, err = bench.Run(ctx, o)
	}
	live.done()
	if err != nil {
		return c.explain(ctx, o, err)
	}
	if err := outputs.write(sys, report); err != nil {
		return err
	}
	if !report.Interrupted {
		c.record(sys, dir, report)
	}
	return benchVerdict(report)
}

// options are what the flags say of the load, without the server.
func (c *benchCmd) options(sys *system) (*bench.Options, error) {
	o := &bench.Options{
		Version: version(), Era: bench.Era(c.Era), Think: c.Think, Duration: c.Duration, Warmup: c.Warmup,
		Timeout: c.Timeout,
	}
	var err error
	if o.Mix, err = bench.ParseMix(c.Mix); err != nil {
		return nil, usagef("%w", err)
	}
	if o.Tools, err = c.tools(sys); err != nil {
		return nil, err
	}
	if c.Rate == "" && c.Concurrency == nil {
		c.Rate = defaultBenchRate
	}
	if c.Concurrency != nil {
		if o.Concurrency = *c.Concurrency; o.Concurrency < 1 {
			return nil, usagef("--concurrency %d: there must be a caller, at least 1", o.Concurrency)
		}
	}
	if c.P99 != nil {
		if o.P99 = *c.P99; o.P99 <= 0 {
			return nil, usagef("--p99 %s must be longer than 0s", o.P99)
		}
	}
	if c.Rate != "" {
		n, per, err := v1.ParseRate(c.Rate)
		if err != nil && per > 0 && n < 1 {
			return nil, usagef("--rate %s sends nothing; write at least 1/h", c.Rate)
		}
		if err != nil {
			return nil, usagef("--rate %s %w", c.Rate, err)
		}
		o.Rate = float64(n) / per.Seconds()
	}
	if c.MaxErrors != "" {
		most, err := strconv.ParseFloat(strings.TrimSuffix(c.MaxErrors, "%"), 64)
		if err != nil {
			return nil, usagef("--max-errors %s: write a percentage, like 0.1", c.MaxErrors)
		}
		o.MaxErrors = &most
	}
	if err := o.Validate(); err != nil {
		return nil, usagef("%w", err)
	}
	return o, nil
}

// tools reads NAME, NAME=JSON and NAME=@FILE.
func (c *benchCmd) tools(sys *system) ([]bench.ToolCall, error) {
	calls := make([]bench.ToolCall, 0, len(c.Tool))
	for _, text := range c.Tool {
		name, args, given := strings.Cut(text, "=")
		call := bench.ToolCall{Name: name}
		if given {
			object, err := readArguments(sys, args)
			if err != nil {
				return nil, err
			}
			object = bytes.TrimSpace(object)
			if !json.Valid(object) || object[0] != '{' {
				return nil, usagef(`--tool %s: its arguments are no JSON object; write --tool '%[1]s={"name": "value"}'`, name)
			}
			call.Args = object
		}
		calls = append(calls, call)
	}
	return calls, nil
}

// aim finds the server and the credential for it, and the state directory where the load is recorded.
func (c *benchCmd) aim(ctx context.Context, sys *system, o *bench.Options) (dir string, err error) {
	file := ""
	switch {
	case c.Target == "":
		if o.URL, err = gatewayURL(); o.URL == "" && err == nil {
			o.URL = defaultURL
		}
	case strings.Contains(c.Target, "://"):
		if o.URL = pathed(c.Target); o.URL != c.Target {
			c.root = c.Target
		}
	default:
		file = c.Target
		o.URL, err = c.running(ctx, sys, file)
	}
	if err != nil {
		return "", err
	}
	t := target{URL: o.URL}
	if _, _, err := t.remote(); err != nil {
		return "", err
	}
	o.Target = address(o.URL)
	if !bench.Loopback(o.URL) && !c.AllowRemote {
		return "", usagef("%s is not on this machine, and a load may stop others from working: give --allow-remote if it is yours", o.Target)
	}
	if origin, err := login.Origin(o.URL); err == nil { // others get no credential
		if o.Token, err = tokenFor(ctx, origin); err != nil {
			return "", err
		}
	}
	return c.dir(io.Discard, file)
}

// running is the endpoint of the gateway that runs with a file.
func (c *benchCmd) running(ctx context.Context, sys *system, file string) (string, error) {
	all, err := c.find(ctx, sys.stderr, file)
	if err != nil {
		return "", err
	}
	defer closeAll(all)
	if len(all) > 1 {
		return "", usagef("%d gateways run with the state directory of %s: name one by its URL", len(all), file)
	}
	base, err := local(all[0].Report.URL)
	return base + "/mcp", err
}

// explain gives what kept the load from beginning its words and its exit code.
func (c *benchCmd) explain(ctx context.Context, o *bench.Options, err error) error {
	refusal, is := errors.AsType[*bench.Refusal](err)
	switch {
	case ctx.Err() != nil:
		return context.Canceled
	case is && refusal.Absent:
		return fmt.Errorf("nothing listens at %s: start a gateway there with \"toolcrib serve FILE\", or name the URL of one that runs", o.Target)
	case is && (refusal.Status == http.StatusUnauthorized || refusal.Status == http.StatusForbidden):
		t := target{URL: o.URL, APIKey: os.Getenv(keyVariable), token: o.Token}
		return t.refused(refusal.Status)
	case is:
		return fmt.Errorf("%s: %w", o.Target, err)
	}
	return failf("%w", err)
}

// loadRecord is what is kept of a load.
type loadRecord struct {
	evidence.Record
	Target     string            `json:"target"`
	Load       string            `json:"load"`
	Totals     bench.Totals      `json:"totals"`
	Objectives []bench.Objective `json:"objectives"`
}

// record notes that there was a load: whoever asks later when the installation was tested finds it.
func (c *benchCmd) record(sys *system, dir string, r *bench.Report) {
	err := evidence.Write(dir, evidence.LoadTest, loadRecord{
		Record: evidence.Record{At: time.Now().UTC().Truncate(time.Second), By: who() + " with toolcrib bench", Result: r.Summary()},
		Target: r.Target, Load: r.Load(), Totals: r.Totals, Objectives: r.Objectives,
	})
	if err != nil {
		_, _ = fmt.Fprintf(sys.stderr, "toolcrib: the load is not recorded: %v; --state-dir names another directory\n", err)
	}
}

// benchVerdict is the exit code.
func benchVerdict(r *bench.Report) error {
	switch {
	case r.Interrupted:
		return context.Canceled
	case r.Answered == 0:
		return failf("nothing was answered")
	case r.Result == bench.Missed:
		return failf("an objective was missed")
	case r.Result == bench.Inconclusive:
		return failf("the load generator could not keep up, so that nothing is known of the objectives")
	}
	return nil
}

// benchOutputs are the files that a report is written to. They are opened before the load, so that it is not in vain.
type benchOutputs struct {
	json, html *os.File
	instead    bool // of the text
}

func (c *benchCmd) outputs() (out *benchOutputs, err error) {
	out = new(benchOutputs)
	open := func(flag, name string) *os.File {
		if name == "" || err != nil {
			return nil
		}
		f, e := os.Create(name)
		if e != nil {
			err = usagef("--%s: %w", flag, e)
		}
		return f
	}
	if out.instead = c.JSON == "-"; !out.instead {
		out.json = open("json", c.JSON)
	}
	out.html = open("html", c.HTML)
	return out, err
}

func (b *benchOutputs) close() {
	for _, f := range []*os.File{b.json, b.html} {
		if f != nil {
			_ = f.Close() // what was written was checked
		}
	}
}

func (b *benchOutputs) write(sys *system, r *bench.Report) error {
	show := r.WriteText
	if b.instead {
		show = r.WriteJSON
	}
	if err := show(sys.stdout); err != nil {
		return err
	}
	if b.json != nil {
		if err := errors.Join(r.WriteJSON(b.json), b.json.Sync()); err != nil {
			return fmt.Errorf("--json: %w", err)
		}
	}
	if b.html != nil {
		if err := errors.Join(r.WriteHTML(b.html), b.html.Sync()); err != nil {
			return fmt.Errorf("--html: %w", err)
		}
	}
	return nil
}

// benchProgress shows how a load stands: on a terminal always, else now and then.
type benchProgress struct {
	*progress
	n int
}

// benchLines is how many reports there are for each line that no terminal shows.
const benchLines = 10

func newBenchProgress(w io.Writer) *benchProgress { return &benchProgress{progress: newProgress(w)} }

func (p *benchProgress) show(now bench.Progress) {
	if p.n++; p.terminal || p.n%benchLines == 0 {
		p.progress.show(now.String())
	}
}
