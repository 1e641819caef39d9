package doctor

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner/launch"
)

// atOnce is how many servers are looked at together: each may be a process that is started.
const atOnce = 6

// visit is a server, or one instance of it, that is looked at.
type visit struct {
	name, about string
	spec        *v1.Server
}

// servers connects to each server.
func servers(ctx context.Context, p *patient, n *notes) {
	visits := p.visits()
	if len(visits) == 0 {
		n.skip("", "there are none")
		return
	}
	room, done := make(chan struct{}, atOnce), make(chan seen, len(visits))
	for i := range visits {
		go func() {
			found := notes{check: n.check}
			select {
			case room <- struct{}{}:
				p.call(ctx, &visits[i], &found)
				<-room
			case <-ctx.Done():
				p.unreached(ctx, &visits[i], &found, ctx.Err())
			}
			done <- seen{i, found.all}
		}()
	}
	for i, found := range gather(ctx, done, len(visits)) {
		if found == nil {
			late(p, &visits[i], n)
		}
		n.all = append(n.all, found...)
	}
}

// seen is what was found of a visit.
type seen struct {
	visit int
	all   []Finding
}

// gather waits for all visits, and little longer than ctx: one that does not end then, as an end of a process may take its time, is
// not to cost what was found of the others.
func gather(ctx context.Context, done <-chan seen, visits int) [][]Finding {
	all := make([][]Finding, visits)
	over := ctx.Done()
	var enough <-chan time.Time
	for range visits + 1 {
		select {
		case s := <-done:
			if all[s.visit] = s.all; !slices.ContainsFunc(all, func(f []Finding) bool { return f == nil }) {
				return all
			}
		case <-over:
			over, enough = nil, time.After(grace/2)
		case <-enough:
			return all
		}
	}
	return all
}

// late notes a server that does not answer.
func late(p *patient, v *visit, n *notes) {
	n.fail(v.about, "see what it waits for: toolcrib tools --config "+p.o.File+" --server "+v.name, "gave no answer in time")
}

// visits are the servers, those with several instances once for each.
func (p *patient) visits() (all []visit) {
	for _, name := range p.config.ServerNames() {
		s := p.config.MCPServers[name]
		if len(s.URLs) == 0 {
			all = append(all, visit{name, "server " + name, s})
		}
		for _, in := range s.URLs {
			one := *s
			one.URL, one.URLs, one.DNS = in.URL, nil, nil
			all = append(all, visit{name, "server " + name + " at " + place(in.URL), &one})
		}
	}
	return all
}

// call connects to a server, and asks it for its tools.
func (p *patient) call(ctx context.Context, v *visit, n *notes) {
	if needs := v.spec.Personal(); needs != "" {
		n.skip(v.about, "what it is given depends on who calls (%s)", needs)
		return
	}
	o := p.o.Dial
	o.Launch = launch.New(p.config, nil)
	if command, _ := o.Launch.Needs(v.spec); command != "" && launch.FindableHere(v.name, v.spec, command) != nil {
		n.skip(v.about, "it cannot be started, as launchers says")
		return
	}
	began := time.Now()
	conn, err := app.Dial(ctx, v.name, v.spec, o)
	if err != nil {
		p.unreached(ctx, v, n, err)
		return
	}
	defer conn.Close()
	connected := time.Since(began)
	_, _, protocol := conn.Info()
	began = time.Now()
	tools, err := conn.List(ctx, mcp.MethodToolsList)
	took := time.Since(began)
	if e, ok := errors.AsType[*mcp.Error](err); ok && e.Code == mcp.CodeMethodNotFound {
		err = nil // it has other things than tools
	}
	switch slow := time.Duration(v.spec.Timeouts.List) / 2; {
	case err != nil:
		p.unreached(ctx, v, n, err)
	case took > slow:
		n.warn(v.about, "find out what it does so long; mcpServers."+v.name+".timeouts.list is how long it may take",
			"needs %v for its list of tools, and is left out of lists from %v on", took.Round(time.Millisecond), v.spec.Timeouts.List)
	default:
		n.pass(v.about, "%s era (%s), %s, lists them in %v, connects in %v", conn.Era(), protocol, count(len(tools), "tool"),
			took.Round(100*time.Microsecond), connected.Round(100*time.Microsecond))
	}
}

// unreached notes why a server cannot be used.
func (p *patient) unreached(ctx context.Context, v *visit, n *notes, err error) {
	if v.spec.ForwardToken || v.spec.Identity != nil {
		if e := errs.Of(err); strings.Contains(e.Text(), "(HTTP 401)") || strings.Contains(e.Text(), "(HTTP 403)") {
			n.skip(v.about, "it wants to know who calls, and answers with refusal: it is there")
			return
		}
	}
	if ctx.Err() != nil {
		late(p, v, n)
		return
	}
	text := strings.TrimPrefix(err.Error(), "server "+strconv.Quote(v.name)+": ")
	if reason := app.ReasonOf(err); reason != "" {
		text += " (it says: " + reason + ")"
	}
	n.told(Fail, v.about, text, mending(v, text))
}

// mending says what to do about a server that cannot be used, where the error does not.
func mending(v *visit, text string) string {
	key := "mcpServers." + v.name
	switch {
	case v.spec.Type == v1.TypeStdio:
		return "run its command by hand, and correct " + key
	case strings.Contains(text, "connection refused"):
		return "start it, or correct " + key + ".url"
	case strings.Contains(text, "no such host"):
		return "correct the host in " + key + ".url, or the name server of this machine"
	case strings.Contains(text, "certificate"):
		return "give it a certificate that this machine trusts, or have this machine trust who signed it (SSL_CERT_FILE)"
	}
	return "see that it runs, and that " + key + " says how to reach it"
}
