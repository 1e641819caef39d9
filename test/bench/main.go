// Command bench measures the gateway against a bare httputil.ReverseProxy, and
// nginx where it is installed, with the same load in the same run; and as a
// bridge to a stdio server against supergateway and mcp-proxy, where there is npm.
//
// It starts itself again as the other ends: a cheap MCP server of both eras
// (upstream, stdio), the bare proxy (proxy) and the load generator (load). The
// targets own one CPU, load and upstream another; they are driven in turn,
// round after round, and every answer is checked. What a call costs the target
// is read from /proc, so the main figures need Linux.
//
//	go run ./test/bench                    all rows, five rounds
//	go run ./test/bench -only call,start   some
//	go run ./test/bench -check             fails when a promised limit is exceeded
//
// All traffic stays on loopback. Whatever is started is stopped at the end, on
// errors and on interrupt too.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// roles are what the program is started again as.
var roles = map[string]func(args []string) error{
	"upstream": upstreamMain,
	"stdio":    stdioMain,
	"pour":     pourMain,
	"proxy":    proxyMain,
	"load":     loadMain,
}

func main() {
	if role := roleOf(os.Args); role != nil {
		exit(role(os.Args[2:]))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func roleOf(args []string) func([]string) error {
	if len(args) < 2 {
		return nil
	}
	return roles[args[1]]
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// options are the settings and what is done with the report.
type options struct {
	settings
	json, check bool
}

func parse(args []string, stderr io.Writer) (*options, error) {
	o := &options{settings: settings{log: stderr}}
	set := flag.NewFlagSet("bench", flag.ContinueOnError)
	set.SetOutput(stderr)
	set.IntVar(&o.rounds, "rounds", 5, "rounds")
	set.Float64Var(&o.seconds, "seconds", 1, "seconds of each measurement")
	set.IntVar(&o.conns, "conns", 32, "connections of the small calls")
	set.StringVar(&o.only, "only", "", "beginnings of the names of what to measure, with commas: call-mm call-ll call-lm call-ml slow big list100 list1000 list2500 access grants calm traced tracedall stdio stdiobig start many instances spares sleep framing sessions parked streams listen filter audit slowone")
	set.BoolVar(&o.quick, "quick", false, "one short round: shows that everything works, its figures say little")
	set.StringVar(&o.gateway, "gateway", "", "gateway program; built from ./cmd/toolcrib when empty, left out when none")
	set.StringVar(&o.peers, "peers", "", "folder whose node_modules has supergateway and mcp-proxy; installed with npm when empty, left out when none")
	set.BoolVar(&o.json, "json", false, "print all samples as JSON")
	set.BoolVar(&o.check, "check", false, "exit 1 when a limit is exceeded or an answer was wrong")
	set.DurationVar(&o.wait, "wait", 150*time.Second, "how long the memory of deleted sessions may take to return")
	set.DurationVar(&o.sustain, "sustain", 3*time.Second, "how long the audit log must keep up with calls")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	o.shots, o.held, o.streams, o.instances = 5, 1000, 5000, 100
	if o.quick {
		o.sustain = min(o.sustain, 100*time.Millisecond)
		o.rounds, o.seconds, o.conns, o.shots, o.held, o.wait = 1, min(o.seconds, 0.1), min(o.conns, 8), 1, 200, time.Second
		o.streams, o.instances = 200, 10
	}
	if o.rounds < 1 || o.rounds > 1000 || o.seconds <= 0 || o.seconds > 600 || o.conns < 1 || o.conns > 1000 ||
		o.sustain <= 0 || o.sustain > time.Hour {
		return nil, fmt.Errorf("-rounds 1 to 1000, -seconds up to 600, -conns 1 to 1000, -sustain up to 1h")
	}
	return o, nil
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	w, err := newWorld(ctx, dir, o.gateway, o.peers)
	if w != nil {
		defer w.stop()
	}
	if err != nil {
		return err
	}
	rep, err := measure(ctx, w, &o.settings)
	rep.judge()
	if perr := rep.write(stdout, o.json); err == nil {
		err = perr
	}
	if err == nil && o.check {
		err = rep.verdict()
	}
	return err
}

func (r *report) write(w io.Writer, asJSON bool) error {
	if !asJSON {
		r.print(w)
		return nil
	}
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// verdict is an error when the product breaks a promise.
func (r *report) verdict() error {
	if bad := append(r.exceeded(), r.Errors...); len(bad) > 0 {
		return fmt.Errorf("%d limits exceeded or answers wrong: %q", len(bad), bad)
	}
	return nil
}
