package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/cli/login"
	"github.com/toolcrib/toolcrib/control"
)

type loginCmd struct {
	URL       string        `arg:"" optional:"" env:"TOOLCRIB_URL" help:"The gateway (default: http://127.0.0.1:8080)."`
	Key       bool          `help:"Read an API key from standard input in place of logging in with a browser."`
	NoBrowser bool          `help:"Do not open a browser, only show the address."`
	Issuer    string        `placeholder:"URL" help:"Log in at this authorization server, where the gateway takes tokens of several."`
	ClientID  string        `placeholder:"ID" help:"Be this OAuth client, where the authorization server registers none by itself."`
	Scope     []string      `placeholder:"SCOPE" help:"Ask for this scope in place of those that the gateway names. May be repeated."`
	Timeout   time.Duration `default:"5m" help:"Give up after this time."`
}

func (*loginCmd) Help() string {
	return `Gets a credential for a gateway and keeps it for tools, call, keys and the other
commands, in $XDG_CONFIG_HOME/toolcrib/credentials.json, which only you can read.

With a browser it logs in at the authorization server that the gateway names
(OAuth 2.1: code, PKCE, resource indicator). With --key it reads an API key from
standard input. The credential is tried before it is kept.

Examples:

    toolcrib login https://tools.example.com
    toolcrib login https://tools.example.com --no-browser
    toolcrib login --key < admin.key

Exit codes: 0 logged in, 1 refused, 2 the command line is wrong, 3 the gateway or
its authorization server cannot be reached or trusted.
`
}

func (c *loginCmd) Run(ctx context.Context, sys *system) error {
	base, err := originOf(c.URL)
	if err != nil {
		return err
	}
	file, err := login.Default()
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	credential, err := c.get(limited, sys, base)
	if err != nil {
		return err
	}
	r := &control.Remote{Base: base, Token: credential.Token(), HTTP: control.NewClient()}
	me, err := r.Whoami(limited)
	if err != nil {
		return explainRemote(ctx, base, err)
	}
	if err := file.Put(limited, base, credential); err != nil {
		return fmt.Errorf("cannot keep the credential: %w", err)
	}
	_, _ = fmt.Fprintf(sys.stdout, "Logged in to %s as %s of tenant %s.\n", base, printable(me.Subject), printable(me.Tenant))
	return nil
}

func (c *loginCmd) get(ctx context.Context, sys *system, base string) (*login.Credential, error) {
	if c.Key {
		key, err := readKey(sys, "API key: ", "toolcrib login --key")
		if err != nil {
			return nil, err
		}
		return &login.Credential{Key: key}, nil
	}
	flow := &login.Flow{HTTP: control.NewClient(), Issuer: c.Issuer, ClientID: c.ClientID, Scopes: c.Scope, Show: func(address string) {
		_, _ = fmt.Fprintf(sys.stderr, "To log in, go to:\n\n    %s\n\n", address)
		if c.NoBrowser {
			return
		}
		if err := login.Open(ctx, address); err != nil {
			_, _ = fmt.Fprintf(sys.stderr, "No browser could be opened (%v): open the address yourself, on this machine.\n", err)
		}
	}}
	target := c.URL
	if target == "" || !strings.Contains(target, "://") {
		target = base
	}
	return flow.Run(ctx, target)
}

const keyMost = 4096

// readKey reads a key, which must not be on the command line, from standard input.
func readKey(sys *system, prompt, command string) (string, error) {
	defer hideTyping(sys, prompt)()
	line, err := bufio.NewReader(io.LimitReader(sys.stdin, keyMost+2)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", err
	}
	key := strings.TrimSpace(line)
	switch {
	case key == "":
		return "", usagef("no key on standard input: write it there, as in: %s < FILE", command)
	case len(key) > keyMost || strings.ContainsFunc(key, func(r rune) bool { return r <= ' ' || r > '~' || r == ',' }):
		return "", usagef("what is on standard input is no key: keys have at most %d visible ASCII characters, no space or comma", keyMost)
	}
	return key, nil
}

type logoutCmd struct {
	URL string `arg:"" optional:"" env:"TOOLCRIB_URL" help:"The gateway (default: http://127.0.0.1:8080)."`
}

func (*logoutCmd) Help() string {
	return `Forgets the credential for a gateway, and has its authorization server revoke the
tokens where it can. An API key is only forgotten: revoke it with "toolcrib keys revoke".

Example:

    toolcrib logout https://tools.example.com
`
}

func (c *logoutCmd) Run(ctx context.Context, sys *system) error {
	base, err := originOf(c.URL)
	if err != nil {
		return err
	}
	file, err := login.Default()
	if err != nil {
		return err
	}
	was, err := file.Remove(ctx, control.NewClient(), base)
	if was && err != nil {
		_, _ = fmt.Fprintf(sys.stderr, "toolcrib: the tokens could not be revoked, and end by themselves: %s\n", printable(err.Error()))
		err = nil
	}
	switch {
	case err != nil:
		return err
	case !was:
		_, _ = fmt.Fprintf(sys.stdout, "There was no credential for %s.\n", base)
	default:
		_, _ = fmt.Fprintf(sys.stdout, "Logged out of %s.\n", base)
	}
	return nil
}

type whoamiCmd struct {
	Output       string `short:"o" enum:"text,json" default:"text" help:"text or json."`
	gatewayFlags `embed:""`
}

func (*whoamiCmd) Help() string {
	return `Shows who a gateway takes you for, and what you may do at its management interface.
` + gatewayHelp + `
Examples:

    toolcrib whoami
    toolcrib whoami --url https://tools.example.com -o json
`
}

func (c *whoamiCmd) Run(ctx context.Context, sys *system) error {
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		me, err := r.Whoami(ctx)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(sys.stdout, me)
		}
		return whoamiText(sys.stdout, r.Base, me)
	})
}

func whoamiText(w io.Writer, base string, me *control.Whoami) error {
	var b strings.Builder
	row := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%-9s %s\n", name, printable(value))
		}
	}
	row("gateway", base)
	row("subject", me.Subject)
	row("tenant", me.Tenant)
	row("method", me.Method)
	row("issuer", me.Issuer)
	row("client", me.Client)
	row("groups", strings.Join(me.Groups, ", "))
	row("roles", strings.Join(me.Roles, ", "))
	row("scopes", strings.Join(me.Scopes, ", "))
	if !me.Expires.IsZero() {
		row("expires", day(me.Expires))
	}
	row("manage", orDash(strings.Join(me.Manage, ", ")))
	_, err := io.WriteString(w, b.String())
	return err
}
