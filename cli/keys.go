package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/control"
)

type keysCmd struct {
	Create keysCreateCmd `cmd:"" help:"Make a key and show it, this once."`
	List   keysListCmd   `cmd:"" help:"List the keys."`
	Rotate keysRotateCmd `cmd:"" help:"Give a key another secret."`
	Revoke keysRevokeCmd `cmd:"" help:"End a key."`
	Hash   keysHashCmd   `cmd:"" help:"Show the hash of a key, for auth.apiKeys."`
}

type keysCreateCmd struct {
	Name         string   `arg:"" help:"Who calls with the key: the subject in policies and records."`
	Tenant       string   `placeholder:"TENANT" help:"Tenant of the key (default: your own)."`
	Group        []string `placeholder:"GROUP" help:"Group of the key (default: none, or your own if you are no admin). May be repeated."`
	Role         []string `placeholder:"ROLE" help:"Role of the key: user, reader, auditor, admin, or one of policies.roles. May be repeated."`
	Scope        []string `placeholder:"SCOPE" help:"OAuth scope of the key. May be repeated."`
	Attr         []string `placeholder:"NAME=VALUE" sep:"none" help:"Further fact for policies (default as for groups). May be repeated."`
	Expires      string   `placeholder:"TIME" help:"When it ends: 90d, 12h, 2026-12-31 or 2026-12-31T12:00:00Z (default: never)."`
	Output       string   `short:"o" enum:"text,json" default:"text" help:"text: the key alone on standard output, or json."`
	gatewayFlags `embed:""`
}

func (*keysCreateCmd) Help() string {
	return `The gateway keeps only a hash: the key is shown this once. It takes keys:write,
and you cannot give away what you have not got: unless you are an admin, its name
begins with your own and a slash, its tenant, groups and attributes are yours, and
its roles and scopes are among yours.
` + gatewayHelp + `
Examples:

    toolcrib keys create ci --role user --expires 90d
    toolcrib keys create prometheus --role auditor > prometheus.key
    toolcrib keys create ana --tenant acme --group analysts -o json
`
}

func (c *keysCreateCmd) Run(ctx context.Context, sys *system) error {
	want := &control.NewKey{Name: c.Name, Tenant: c.Tenant, Groups: c.Group, Roles: c.Role, Scopes: c.Scope}
	for _, pair := range c.Attr {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return usagef("--attr %s: write NAME=VALUE", pair)
		}
		if want.Attributes == nil {
			want.Attributes = map[string]string{}
		}
		want.Attributes[name] = value
	}
	if c.Expires != "" {
		at, err := comingTime(c.Expires, time.Now())
		if err != nil {
			return err
		}
		want.Expires = at
	}
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		made, err := r.CreateKey(ctx, want)
		if err != nil {
			return err
		}
		return showMade(sys, c.Output, made)
	})
}

// comingTime reads a time to come, or how long it is until then.
func comingTime(text string, now time.Time) (time.Time, error) {
	if days, ok := strings.CutSuffix(text, "d"); ok {
		if n, err := strconv.Atoi(days); err == nil && n > 0 && n <= 36500 {
			return now.AddDate(0, 0, n).UTC().Truncate(time.Second), nil
		}
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return now.Add(d).UTC().Truncate(time.Second), nil
	}
	for _, layout := range []string{time.RFC3339, time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, usagef("--expires %s: write 90d, 12h, 2026-12-31 or 2026-12-31T12:00:00Z", text)
}

// showMade leaves standard output to the key, so that it can go straight to where it is kept.
func showMade(sys *system, output string, k *control.MadeKey) error {
	if k.Notice != "" {
		_, _ = fmt.Fprintf(sys.stderr, "Note: %s\n", printable(k.Notice))
	}
	if output == "json" {
		return writeJSON(sys.stdout, k)
	}
	ends := "does not end"
	if !k.Expires.IsZero() {
		ends = "ends at " + day(k.Expires)
	}
	_, _ = fmt.Fprintf(sys.stderr, "Key %s (%s) of tenant %s, which %s. It is shown this once:\n",
		printable(k.ID), printable(k.Name), printable(k.Tenant), ends)
	_, err := fmt.Fprintln(sys.stdout, printable(k.Secret))
	return err
}

type keysListCmd struct {
	Output       string `short:"o" enum:"table,json" default:"table" help:"table or json."`
	gatewayFlags `embed:""`
}

func (*keysListCmd) Help() string {
	return `Lists the keys that are not revoked: those of your tenant, or all for an admin. It
takes keys:read. LAST USED is true to about a minute. Keys of auth.apiKeys are in
the configuration and not here.
` + gatewayHelp + `
Example:

    toolcrib keys list --url https://tools.example.com
`
}

func (c *keysListCmd) Run(ctx context.Context, sys *system) error {
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		keys, err := r.Keys(ctx)
		if err != nil {
			return err
		}
		if c.Output == "json" {
			return writeJSON(sys.stdout, control.Keys{Keys: keys})
		}
		return keysTable(sys.stdout, keys)
	})
}

func keysTable(out io.Writer, keys []control.Key) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(w, "ID\tNAME\tTENANT\tROLES\tGROUPS\tSTATE\tCREATED\tEXPIRES\tLAST USED")
	for _, k := range keys {
		row := []string{k.ID, k.Name, k.Tenant, orDash(strings.Join(k.Roles, ",")), orDash(strings.Join(k.Groups, ",")), k.State}
		for i := range row {
			row[i] = printable(row[i])
		}
		_, _ = fmt.Fprintln(w, strings.Join(append(row, day(k.Created), day(k.Expires), day(k.Used)), "\t"))
	}
	return w.Flush()
}

// oneKey names a key.
type oneKey struct {
	Key    string `arg:"" name:"key" help:"The id of the key, or its name."`
	Tenant string `placeholder:"TENANT" help:"Tenant of the key, where several have one of that name."`
}

// find is the id of the key that is named.
func (o *oneKey) find(ctx context.Context, r *control.Remote) (string, error) {
	keys, err := r.Keys(ctx)
	if err != nil {
		return "", err
	}
	var ids []string
	for _, k := range keys {
		if k.ID == o.Key {
			return k.ID, nil
		}
		if k.Name == o.Key && (o.Tenant == "" || k.Tenant == o.Tenant) {
			ids = append(ids, k.ID)
		}
	}
	switch len(ids) {
	case 0:
		return "", failf("there is no key %q that you may see; toolcrib keys list shows those there are", o.Key)
	case 1:
		return ids[0], nil
	}
	return "", usagef("several tenants have a key %q; name its id, or --tenant", o.Key)
}

type keysRotateCmd struct {
	oneKey       `embed:""`
	Overlap      v1.Duration `default:"1h" help:"For how long the present secret is good besides, at most 30d; 0s ends it at once."`
	Output       string      `short:"o" enum:"text,json" default:"text" help:"text: the key alone on standard output, or json."`
	gatewayFlags `embed:""`
}

func (*keysRotateCmd) Help() string {
	return `The key gets another secret, which is shown this once, and stays what it is
otherwise. Clients have the time of --overlap to change over. It takes keys:write.
` + gatewayHelp + `
Examples:

    toolcrib keys rotate ci
    toolcrib keys rotate ci --overlap 24h
`
}

func (c *keysRotateCmd) Run(ctx context.Context, sys *system) error {
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		id, err := c.find(ctx, r)
		if err != nil {
			return err
		}
		made, err := r.RotateKey(ctx, id, c.Overlap.D())
		if err != nil {
			return err
		}
		return showMade(sys, c.Output, made)
	})
}

type keysRevokeCmd struct {
	oneKey       `embed:""`
	gatewayFlags `embed:""`
}

func (*keysRevokeCmd) Help() string {
	return `The key ends: at once at the gateway that is asked, and within auth.revocation at
its other replicas and for open streams. It takes keys:write.
` + gatewayHelp + `
Example:

    toolcrib keys revoke ci
`
}

func (c *keysRevokeCmd) Run(ctx context.Context, sys *system) error {
	return c.asking(ctx, func(ctx context.Context, r *control.Remote) error {
		id, err := c.find(ctx, r)
		if err != nil {
			return err
		}
		k, err := r.RevokeKey(ctx, id)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(sys.stdout, "Revoked %s (%s) of tenant %s.\n", printable(k.ID), printable(k.Name), printable(k.Tenant))
		return err
	})
}

type keysHashCmd struct{}

func (*keysHashCmd) Help() string {
	return `Reads a key from standard input and shows what may stand for it in auth.apiKeys, so
that the configuration holds no secret. Weak keys are refused: a hash of one could
be guessed back.

Example:

    openssl rand -hex 32 | tee ci.key | toolcrib keys hash
`
}

func (*keysHashCmd) Run(sys *system) error {
	key, err := readKey(sys, "Key: ", "toolcrib keys hash")
	if err != nil {
		return err
	}
	if err := v1.CheckAPIKey(key); err != nil {
		return failf("the key %w", err)
	}
	sum := sha256.Sum256([]byte(key))
	_, err = fmt.Fprintln(sys.stdout, "sha256:"+hex.EncodeToString(sum[:]))
	return err
}
