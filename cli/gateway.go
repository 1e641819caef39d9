package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/cli/login"
	"github.com/toolcrib/toolcrib/control"
)

const defaultGateway = "http://127.0.0.1:8080"

// gatewayFlags name the gateway whose management interface a command asks. There is no flag for a key: others can see flags.
type gatewayFlags struct {
	URL string `placeholder:"URL" env:"TOOLCRIB_URL" help:"The gateway (default: http://127.0.0.1:8080)."`
}

const gatewayHelp = `
The gateway wants a credential: that of "toolcrib login", or an API key in the
variable TOOLCRIB_API_KEY.
`

// originOf is the gateway at a URL that a person gave; a missing scheme is https, and http at a loopback address.
func originOf(text string) (string, error) {
	if text == "" {
		text = defaultGateway
	}
	if !strings.Contains(text, "://") {
		scheme := "https://"
		if u, err := url.Parse("http://" + text); err == nil {
			if _, err := login.Origin(u.String()); err == nil {
				scheme = "http://"
			}
		}
		text = scheme + text
	}
	origin, err := login.Origin(text)
	if err != nil {
		return "", usagef("%w", err)
	}
	return origin, nil
}

// tokenFor is what opens the gateway: the variable, else what a login left; empty where there is neither.
func tokenFor(ctx context.Context, origin string) (string, error) {
	if key := os.Getenv(keyVariable); key != "" {
		return key, nil
	}
	f, err := login.Default()
	if err != nil {
		return "", err
	}
	c, err := f.Get(ctx, control.NewClient(), origin)
	if err != nil {
		return "", fmt.Errorf("credential for %s: %w", origin, err)
	}
	if c == nil {
		return "", nil
	}
	return c.Token(), nil
}

// remote is the gateway, with the credential for it.
func (g *gatewayFlags) remote(ctx context.Context) (*control.Remote, error) {
	origin, err := originOf(g.URL)
	if err != nil {
		return nil, err
	}
	token, err := tokenFor(ctx, origin)
	if err != nil {
		return nil, err
	}
	if token == "" {
		return nil, failf("no credential for %s: toolcrib login %s, or set %s", origin, origin, keyVariable)
	}
	return &control.Remote{Base: origin, Token: token, HTTP: control.NewClient()}, nil
}

// explainRemote gives what a gateway answered its exit code.
func explainRemote(ctx context.Context, base string, err error) error {
	p, answered := errors.AsType[*control.Problem](err)
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Canceled
	case answered && p.Status == http.StatusUnauthorized:
		return failf("%s does not take this credential: %s", base, printable(p.Error()))
	case answered:
		return failf("%s", printable(p.Error()))
	}
	return err
}

// asking asks the gateway of the flags.
func (g *gatewayFlags) asking(ctx context.Context, f func(context.Context, *control.Remote) error) error {
	r, err := g.remote(ctx)
	if err != nil {
		return err
	}
	return explainRemote(ctx, r.Base, f(ctx, r))
}

// day shows a time to a person; none is a dash.
func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04Z")
}
