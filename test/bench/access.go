package main

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The grants of the gateways that say who may do what.
const (
	grantsOn    = 200 // of which conditions ask for arguments
	conditions  = 20
	grantsFew   = 10
	grantsMany  = 10_000
	filterTools = 2500
)

// accessRows compare a gateway with everything on with one that serves anybody,
// many grants with few, and one that limits and caches with one that does not.
func accessRows() []row {
	eras := []era{modern, legacy}
	all := make([]row, 0, 3*len(eras))
	for _, e := range eras {
		server := string(e)
		short := server[:1] + server[:1]
		path := fmt.Sprintf("/%s/10/mcp", e)
		on := through("access", server)
		for i := range on {
			on[i].token = true
		}
		few := aim{label: labelFew, target: "grants10", path: "/servers/" + server + "/mcp", token: true}
		many := few
		many.label, many.target = labelMany, "grants10000"
		all = append(all,
			row{
				"access-" + short, fmt.Sprintf("tools/call, 64 bytes, %s, with JWT, %d grants (%d with arguments) and audit", e, grantsOn, conditions), e, opEcho, 0, 0,
				join(plain(path)[1:2], beside(through("off", server), on)),
			},
			row{
				"grants-" + short, fmt.Sprintf("tools/call, 64 bytes, %s, with JWT and grants without arguments", e), e, opEcho, 0, 0,
				join(plain(path)[1:2], []aim{few, many}),
			},
			row{
				"calm-" + short, fmt.Sprintf("tools/call, 64 bytes, %s, with limits and cache", e), e, opEcho, 0, 0,
				join(plain(path)[1:2], beside(through("off", server), through("calm", server))),
			})
	}
	return all
}

const (
	labelFew  = "gateway, 10 grants"
	labelMany = "gateway, 10,000 grants"
)

// beside are the ways through a gateway, each followed by that through one with something on, so that the two are measured one right
// after the other.
func beside(off, on []aim) []aim {
	all := make([]aim, 0, 2*len(off))
	for i := range off {
		on[i].label = onLabel(off[i].label)
		all = append(all, off[i], on[i])
	}
	return all
}

func onLabel(off string) string { return off + ", all on" }

// guard adds to the configuration of a gateway who may do what; it writes the
// Cedar policies beside it.
func (w *world) guard(name string, c map[string]any) error {
	grants := map[string]int{"access": grantsOn - conditions, "audit": grantsOn - conditions, "grants10": grantsFew, "grants10000": grantsMany, "filter": grantsOn}[name]
	if grants == 0 {
		return nil
	}
	roles, bindings := map[string]any{}, make([]any, grants)
	for i := range grants {
		role := fmt.Sprint("r", i)
		roles[role] = map[string]any{"allow": grant(name, i)}
		bindings[i] = map[string]any{"group": groupOf(i), "role": role}
	}
	policies := map[string]any{"roles": roles, "bindings": bindings}
	c["auth"], c["policies"], c["audit"] = w.issuer.auth(), policies, map[string]any{"sinks": []any{}}
	if name != "access" && name != "audit" {
		return nil
	}
	c["audit"] = map[string]any{"sinks": []any{map[string]any{"file": auditFile}}}
	file := filepath.Join(w.dir, name+".cedar")
	policies["cedar"] = []string{file}
	return os.WriteFile(file, cedar(), 0o600)
}

const auditFile = "audit.jsonl"

// grant are the tools of a grant. That of group 0, whose member calls, has what
// is called; of a long list, each has a tenth and one tool more.
func grant(name string, i int) []string {
	switch {
	case name == "filter":
		return []string{fmt.Sprintf("one__*%d", i%10), "one__" + extra(i)}
	case i == 0:
		return []string{"modern__*", "legacy__*"}
	}
	return []string{fmt.Sprintf("modern__lookup_%04d", i), fmt.Sprintf("legacy__lookup_%d*", i)}
}

// extra is the tool that only one grant of a long list has, beside its tenth.
func extra(i int) string { return fmt.Sprintf("lookup_%04d", 1001+i) }

// cedar are the policies with conditions on arguments: one for each tool of
// the two servers, that which is called too.
func cedar() []byte {
	var b bytes.Buffer
	for n := range conditions {
		server := []string{"modern", "legacy"}[n%2]
		tool := []string{"echo", "payload", "sleep"}[min(n/2, 2)]
		if n/2 > 2 {
			tool = fmt.Sprintf("lookup_%04d", n/2)
		}
		fmt.Fprintf(&b, `forbid(principal in Group::"callers", action == Action::"call", resource == Tool::"%s/%s")
when { context.args has text && context.args.text like "*forbidden %d*" };
`, server, tool, n)
	}
	return b.Bytes()
}

// shootFilter takes the CPU of a long list for principals with rights that nobody
// had before, and for the same again.
func (w *world) shootFilter(s *settings, rep *report) error {
	for range s.shots {
		if err := w.filterOnce(s, rep); err != nil {
			return err
		}
	}
	return nil
}

func (w *world) filterOnce(s *settings, rep *report) error {
	t, err := w.startReady("filter", w.configs()["filter"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	principals := grantsOn
	if s.quick {
		principals = 10
	}
	clients, err := w.filterClients(t, principals)
	for _, c := range clients {
		defer c.drop()
	}
	if err != nil {
		return err
	}
	began := time.Now()
	if err := clients[0].do(); err != nil {
		return err
	}
	rep.figure("filter-first-ms", fmt.Sprintf("first tools/list of %d tools since the start, %d grants", filterTools, grantsOn), "ms", millis(time.Since(began)))
	fresh, err := t.cpuOf(clients[1:], 1)
	if err != nil {
		return err
	}
	const again = 10
	known, err := t.cpuOf(clients[1:], again)
	if err != nil {
		return err
	}
	rep.figure("filter-new-ms", "CPU of that list for a principal with new rights, its token and all", "ms", millis(fresh))
	rep.figure("filter-known-ms", "CPU of that list for a known principal", "ms", millis(known))
	return nil
}

// filterClients are clients of principals, each with other rights.
func (w *world) filterClients(t *target, n int) (all []*client, err error) {
	for i := range n {
		e := endpoint{Addr: t.addr, Path: "/mcp", Era: modern, Op: opList, Size: w.filtered(i)}
		if e.Key, err = w.issuer.token(fmt.Sprint("user", i), groupOf(i)); err != nil {
			return all, err
		}
		c, err := dialClient(e, time.Now().Add(time.Minute))
		if err != nil {
			return all, err
		}
		all = append(all, c)
	}
	return all, nil
}

// filtered is how many tools a principal sees of the long list.
func (w *world) filtered(i int) int {
	n := 0
	for _, name := range toolNames(filterTools) {
		if strings.HasSuffix(name, fmt.Sprint(i%10)) || name == extra(i) {
			n++
		}
	}
	return n
}

// cpuOf is the CPU for a list, asked so many times by each.
func (t *target) cpuOf(clients []*client, times int) (time.Duration, error) {
	before, err := cpuTime(t.proc.pid())
	if err != nil {
		return 0, err
	}
	for range times {
		for _, c := range clients {
			if err := c.do(); err != nil {
				return 0, err
			}
		}
	}
	after, err := cpuTime(t.proc.pid())
	return (after - before) / time.Duration(times*len(clients)), err
}

// shootAudit has a gateway with everything on called as often as it can be, and
// looks whether each call that was answered is on record, once and in order.
func (w *world) shootAudit(s *settings, rep *report) error {
	t, err := w.startReady("audit", w.configs()["calls"])
	if err != nil {
		return err
	}
	defer t.proc.stop()
	j := job{
		endpoint: endpoint{Addr: t.addr, Path: "/servers/modern/mcp", Era: modern, Op: opEcho, Tool: "echo", Key: w.token},
		Conns:    s.conns, For: s.sustain, Target: t.proc.pid(), Own: []int{w.upstream.proc.pid()}, Upstream: w.upstream.addr,
	}
	got, err := w.load.measure(j)
	if err != nil {
		return err
	}
	if got.Errors > 0 {
		rep.Errors = append(rep.Errors, fmt.Sprintf("audit: %d errors: %s", got.Errors, got.Error))
	}
	t.proc.stop()
	records, disorder, err := records(filepath.Join(w.dir, "audit"))
	if err != nil {
		return err
	}
	const first = 1 // call of each connection, which the load does not count
	rep.figure("audit-rate", fmt.Sprintf("calls a second, each on record, for %v", s.sustain), "calls/s", got.rate())
	rep.figure("audit-lost", "calls that were answered and have no record, or two", "calls", float64(abs(got.Calls+first*s.conns-records)))
	rep.figure("audit-disorder", "records out of order", "records", float64(disorder))
	verify := exec.CommandContext(w.ctx, w.gateway, "audit", "verify", "-c", filepath.Join(w.dir, "audit.json"))
	if said, err := verify.CombinedOutput(); err != nil {
		rep.Errors = append(rep.Errors, fmt.Sprintf("audit verify: %v: %s", err, said))
	}
	return nil
}

func abs(n int) int { return max(n, -n) }

// records counts the records of calls in the files of a log, and the lines that
// do not follow the one before.
func records(dir string) (calls, disorder int, err error) {
	files, err := filepath.Glob(filepath.Join(dir, "audit*.jsonl")) // sorted, the one in use last
	if err != nil {
		return 0, 0, err
	}
	last := 0
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return 0, 0, err
		}
		lines := bufio.NewScanner(f)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			line := lines.Bytes()
			if bytes.Contains(line, []byte(`"api":{"operation":"tools/call"`)) {
				calls++
			}
			n := decimal(bytes.TrimPrefix(line, []byte(`{"metadata":{"sequence":`)))
			if n != last+1 {
				disorder++
			}
			last = n
		}
		err = lines.Err()
		_ = f.Close() // it was only read
		if err != nil {
			return 0, 0, err
		}
	}
	return calls, disorder, nil
}
