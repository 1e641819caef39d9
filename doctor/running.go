package doctor

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/control"
)

// answerMost bounds what is read of an answer, in bytes.
const answerMost = 4 << 20

// running looks at the gateways that run on this machine with the state directory.
func running(ctx context.Context, p *patient, n *notes) {
	if p.stateDir == "" {
		n.skip("", "the configuration cannot be read")
		return
	}
	found, err := control.Find(ctx, p.stateDir)
	if displaced(err) {
		n.stateless()
		return
	}
	if err != nil {
		n.fail(p.stateDir, "run this as the user that runs the gateway", "cannot look into the gateway: %v", err)
		return
	}
	defer release(found)
	if len(found) == 0 {
		n.skip("", "none runs with the state directory %s", p.stateDir)
		return
	}
	if len(found) > 1 {
		n.warn(p.stateDir, "end all but one, or give each a stateDir (TOOLCRIB_STATE_DIR) of its own",
			"%d gateways run with it (processes %s), and share what it keeps: quotas, keys, the audit log", len(found), processes(found))
	}
	for _, c := range found {
		p.visited(ctx, n, c.Report)
	}
}

func processes(found []*control.Client) string {
	all := make([]string, len(found))
	for i, c := range found {
		all[i] = strconv.Itoa(c.Report.PID)
	}
	return strings.Join(all, ", ")
}

// visited looks at one gateway that runs.
func (p *patient) visited(ctx context.Context, n *notes, r *control.Report) {
	about := "process " + strconv.Itoa(r.PID)
	before := len(n.all)
	if file := p.fileOf(r); file != "" && !same(file, p.o.File) {
		n.warn(about, "give this configuration a stateDir of its own", "serves %s with the same state directory", file)
	}
	if v := p.o.Dial.Version; v != "" && r.Version != "" && r.Version != v {
		n.warn(about, "restart it", "is toolcrib %s, and this is %s", r.Version, v)
	}
	state, reasons, err := p.readiness(ctx, r.URL)
	switch {
	case err != nil:
		n.fail(about, "see its log, and restart it", "does not answer at %s: %v", r.URL, err)
	case state == "unready" && len(reasons) > 0:
		n.fail(about, "mend what it names; its log has more", "is not ready: %s", strings.Join(reasons, "; "))
	case state != "ready" && len(reasons) == 0:
		p.untold(ctx, n, about, r.URL, state)
	}
	for _, reason := range reasons {
		if state == "degraded" {
			n.warn(about, "mend what it names; toolcrib ps and logs, and its own log, have more", "is degraded: %s", reason)
		}
	}
	if len(n.all) == before {
		n.pass(about, "is %s at %s since %s", state, r.URL, r.Started.UTC().Format(time.RFC3339))
	}
}

// untold notes a gateway that is not ready and does not say why, which it tells to those who may know.
func (p *patient) untold(ctx context.Context, n *notes, about, base, state string) {
	note := n.warn
	if state == "unready" {
		note = n.fail
	}
	token := ""
	if p.o.Token != nil {
		token, _ = p.o.Token(ctx, base)
	}
	_, status, err := p.ask(ctx, base, control.Prefix+"whoami")
	switch {
	case token == "":
		note(about, "log in, so that it says why: toolcrib login "+base, "is %s", state)
	case err == nil && status == http.StatusUnauthorized:
		note(about, "correct TOOLCRIB_API_KEY, or unset it and log in: toolcrib login "+base,
			"is %s, and refuses the credential, so that it does not say why", state)
	default:
		note(about, "have somebody look who has the right servers:read; its log tells also", "is %s, and does not say why to who has no right to know", state)
	}
}

// fileOf is the configuration of a gateway, which may be relative to where it was started.
func (p *patient) fileOf(r *control.Report) string {
	if r.File == "" || filepath.IsAbs(r.File) {
		return r.File
	}
	dir, err := os.Readlink(filepath.Join(p.root, "proc", strconv.Itoa(r.PID), "cwd"))
	if err != nil {
		return "" // which it is cannot be known
	}
	return filepath.Join(dir, r.File)
}

// same tells whether two names lead to one file.
func same(a, b string) bool {
	x, err := os.Stat(a)
	y, err2 := os.Stat(b)
	return err == nil && err2 == nil && os.SameFile(x, y)
}

// readiness asks a gateway of this machine how it is.
func (p *patient) readiness(ctx context.Context, base string) (state string, reasons []string, err error) {
	body, _, err := p.ask(ctx, base, "/health/ready")
	if err != nil {
		return "", nil, err
	}
	var answer struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons"`
	}
	if err := json.Unmarshal(body, &answer); err != nil || answer.Status == "" {
		return "", nil, errors.New("what answers there is no gateway")
	}
	return answer.Status, answer.Reasons, nil
}

// ask gets a path of a gateway of this machine, with the credential for it where there is one.
func (p *patient) ask(ctx context.Context, base, path string) (body []byte, status int, err error) {
	u, err := url.Parse(base)
	if err != nil {
		return nil, 0, err
	}
	local := &http.Transport{DisableKeepAlives: true} // no proxy stands before this machine
	if ip := net.ParseIP(u.Hostname()); ip.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	if net.ParseIP(u.Hostname()) != nil {
		// The gateway itself named this address, over a socket that only its owner can make. Its certificate has names.
		local.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: true} //nolint:gosec // see above
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String()+path, http.NoBody)
	if err != nil {
		return nil, 0, err
	}
	if p.o.Token != nil {
		if token, err := p.o.Token(ctx, base); err == nil && token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
	}
	resp, err := (&http.Client{Transport: local}).Do(req)
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	if err != nil {
		return nil, 0, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(io.LimitReader(resp.Body, answerMost))
	return body, resp.StatusCode, err
}
