package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
)

const (
	probeTime = 2 * time.Second
	probeMost = 1 << 20 // bytes of an answer that are read
)

// probe asks the one that runs on this machine whether it is ready.
func (c *runCmd) probe(ctx context.Context, sys *system) error {
	ctx, cancel := context.WithTimeout(ctx, probeTime)
	defer cancel()
	at, err := c.running(ctx)
	if err != nil {
		return &exitError{ExitFailed, err}
	}
	key, err := c.key()
	if err != nil {
		return &exitError{ExitFailed, err}
	}
	reasons, err := ready(ctx, at, key)
	if errors.Is(err, context.DeadlineExceeded) {
		err = fmt.Errorf("%s does not answer within %s", at, probeTime)
	}
	if err != nil {
		return &exitError{ExitFailed, err}
	}
	_, _ = fmt.Fprintln(sys.stdout, strings.Join(append([]string{"ready"}, reasons...), "\n"))
	return nil
}

// running is the base URL of the one that runs: at the address that the flag or the variable names, else where the owner
// of the state directory finds it, else at the default address.
func (c *runCmd) running(ctx context.Context) (string, error) {
	address := cmp.Or(c.Listen, os.Getenv("TOOLCRIB_LISTEN"))
	if _, port, err := net.SplitHostPort(address); address != "" && (err != nil || port != "0") {
		return local("http://" + address)
	}
	g := gateways{StateDir: c.StateDir}
	dir, err := g.dir(io.Discard, "")
	if err != nil {
		return "", err
	}
	all, err := control.Find(ctx, dir)
	defer closeAll(all)
	switch {
	case len(all) > 1:
		return "", fmt.Errorf("%d gateways run with the state directory %s: say which with --listen", len(all), dir)
	case len(all) == 1:
		return local(all[0].Report.URL)
	case address != "":
		return "", fmt.Errorf("nothing runs with the state directory %s, and the port of %s is not known: %w", dir, address, cmp.Or(err, errNotRunning))
	}
	return local("http://" + v1.New().Listen)
}

var errNotRunning = errors.New("no socket is there")

// local turns an address that is listened on into one that can be called from here.
func local(base string) (string, error) {
	u, err := url.Parse(base)
	if err != nil || u.Port() == "" {
		return "", fmt.Errorf("--listen %s is not HOST:PORT", strings.TrimPrefix(base, "http://"))
	}
	if ip := net.ParseIP(u.Hostname()); u.Hostname() == "" || ip.IsUnspecified() {
		u.Host = net.JoinHostPort("127.0.0.1", u.Port())
	}
	return u.String(), nil
}

// ready returns nil when the gateway at base can do its work, perhaps with what it cannot do. Where there is a key, it takes
// it to be told why.
func ready(ctx context.Context, base, key string) (reasons []string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, base+"/health/ready", nil)
	if err != nil {
		return nil, err
	}
	if key != "" {
		req.Header.Set("Authorization", "Bearer "+key)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // no proxy stands before this machine
	resp, err := client.Do(req)
	if err != nil {
		if e, ok := errors.AsType[*url.Error](err); ok {
			err = e.Err
		}
		return nil, fmt.Errorf("not ready: %w", err)
	}
	defer resp.Body.Close()
	var answer struct {
		Status  string   `json:"status"`
		Reasons []string `json:"reasons"`
	}
	_ = json.NewDecoder(io.LimitReader(resp.Body, probeMost)).Decode(&answer) // the status says it
	if resp.StatusCode != http.StatusOK {
		text := strings.Join(append([]string{cmp.Or(answer.Status, "not ready")}, answer.Reasons...), "; ")
		return nil, fmt.Errorf("HTTP %d: %s", resp.StatusCode, printable(text))
	}
	return answer.Reasons, nil
}
