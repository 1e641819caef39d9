package doctor

import (
	"context"
	"fmt"
	"iter"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/app"
)

// Status is how something was found.
type Status string

// The values of Status.
const (
	Pass      Status = "pass"
	Warn      Status = "warn" // it works, but not as well or not as safely as it should
	Fail      Status = "fail"
	Unchecked Status = "not checked"
)

// Finding is one thing that was found.
type Finding struct {
	// Check is the name of the check that found it.
	Check  string `json:"check"`
	Status Status `json:"status"`
	// About is what it is about, such as the name of a server; empty where the check has but one subject.
	About string `json:"about,omitempty"`
	// Text is what was found: the evidence where all is well.
	Text string `json:"text"`
	// Remedy is what to do about it; empty where nothing is to be done.
	Remedy string `json:"remedy,omitempty"`
}

// Options say what is examined.
type Options struct {
	// File is the configuration.
	File string
	// Production examines what an installation of an enterprise needs, in place of what any needs.
	Production bool
	// Only are the names of the checks that are made; all where it is empty. Skip are those that are not.
	Only, Skip []string
	// Timeout bounds each check; 0 leaves it at what the table says.
	Timeout time.Duration
	// Dial is what connecting to servers takes.
	Dial app.DialOptions
	// Token gives the credential for a gateway at an origin, empty for none; may be nil.
	Token func(ctx context.Context, origin string) (string, error)
	// Manifests are a file or a folder of Kubernetes manifests; empty for none.
	Manifests string
	// Prometheus is the URL of the Prometheus that scrapes the gateway; empty for none.
	Prometheus string

	world    *world                     // this machine, where it is nil
	deployed func() (*manifests, error) // reads the manifests once
}

// grace is how long after its time a check has to say so itself.
const grace = 500 * time.Millisecond

// Examine makes the checks and yields what they find, in the order of the table. It ends soon after ctx does.
func Examine(ctx context.Context, o Options) iter.Seq[Finding] {
	return func(yield func(Finding) bool) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		p := admit(&o)
		checks := o.chosen()
		results := make([]<-chan []Finding, len(checks))
		for i := range checks {
			results[i] = checks[i].start(ctx, p)
		}
		for _, result := range results {
			for _, f := range <-result {
				if !yield(p.discreet(f)) {
					return
				}
			}
		}
	}
}

// chosen are the checks that are asked for.
func (o *Options) chosen() []check {
	all := checks
	if o.Production {
		all = checklist
	}
	return slices.DeleteFunc(slices.Clone(all), func(c check) bool {
		return len(o.Only) > 0 && !slices.Contains(o.Only, c.name) || slices.Contains(o.Skip, c.name)
	})
}

// Unknown tells of the first name that no check has; empty where all are known. What is left out may be a check of either table.
func (o *Options) Unknown() string {
	has := func(production bool, name string) bool {
		return slices.ContainsFunc(Checks(production), func(c Check) bool { return c.Name == name })
	}
	for _, name := range slices.Concat(o.Only, o.Skip) {
		switch other := has(!o.Production, name); {
		case has(o.Production, name), other && slices.Contains(o.Skip, name):
		case other && o.Production:
			return fmt.Sprintf("the check %q is none of --production; leave that out", name)
		case other:
			return fmt.Sprintf("the check %q is one of --production alone; add that", name)
		default:
			return fmt.Sprintf("there is no check %q; toolcrib doctor --help lists them", name)
		}
	}
	return ""
}

// Unreadable tells what of the manifests cannot be used; nil where nothing hinders, or none are named.
func (o *Options) Unreadable() error {
	if o.Manifests == "" {
		return nil
	}
	_, err := o.manifests()()
	return err
}

// start makes the check. Nothing can end a system call that hangs, as on a file system that is away: such a check is given up, and
// what it does ends with the process.
func (c *check) start(ctx context.Context, p *patient) <-chan []Finding {
	limit := c.within
	if p.o.Timeout > 0 {
		limit = p.o.Timeout
	}
	made := make(chan []Finding, 1)
	limited, cancel := context.WithTimeout(ctx, limit)
	go func() {
		n := &notes{check: c.name}
		switch {
		case c.needs && p.config == nil:
			n.skip("", "the configuration cannot be read")
		default:
			c.look(limited, p, n)
		}
		made <- n.all
	}()
	result := make(chan []Finding, 1)
	go func() {
		defer cancel()
		select {
		case all := <-made:
			result <- all
			return
		case <-limited.Done():
		}
		select {
		case all := <-made:
			result <- all
		case <-time.After(grace):
			result <- []Finding{{
				Check: c.name, Status: Fail, Text: fmt.Sprintf("is not done after %v", limit),
				Remedy: "find out what hangs, or give it more time: --timeout",
			}}
		}
	}()
	return result
}

// notes are what a check finds.
type notes struct {
	check string
	all   []Finding
}

func (n *notes) add(status Status, about, remedy, format string, args []any) {
	n.all = append(n.all, Finding{Check: n.check, Status: status, About: about, Text: fmt.Sprintf(format, args...), Remedy: remedy})
}

func (n *notes) pass(about, format string, args ...any) { n.add(Pass, about, "", format, args) }

func (n *notes) warn(about, remedy, format string, args ...any) {
	n.add(Warn, about, remedy, format, args)
}

func (n *notes) fail(about, remedy, format string, args ...any) {
	n.add(Fail, about, remedy, format, args)
}

func (n *notes) skip(about, format string, args ...any) { n.add(Unchecked, about, "", format, args) }

// well tells whether nothing was found that is to be mended.
func (n *notes) well() bool {
	return !slices.ContainsFunc(n.all, func(f Finding) bool { return f.Status == Warn || f.Status == Fail })
}

// advice is where the advice of a message begins that has no semicolon before it.
var advice = regexp.MustCompile(`: (?:install|run|set|give|raise|name|write|start|find out|chmod|correct) `)

// told notes a message that other parts of the program make: what is wrong, and then what to do.
func (n *notes) told(status Status, about, message, otherwise string) {
	text, remedy := message, otherwise
	if strings.Contains(message, "; last stderr: ") {
		n.add(status, about, otherwise, "%s", []any{message}) // what a process says is no advice
		return
	}
	if i := strings.LastIndex(message, "; "); i > 0 && !strings.Contains(message[i:], "may have been carried out") {
		text, remedy = message[:i], message[i+2:]
	} else if all := advice.FindAllStringIndex(message, -1); len(all) > 0 {
		at := all[len(all)-1][0]
		text, remedy = message[:at], message[at+2:]
	}
	n.add(status, about, remedy, "%s", []any{text})
}
