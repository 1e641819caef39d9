package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/app"
	"github.com/toolcrib/toolcrib/cli/login"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner/launch"
)

const (
	defaultURL  = "http://127.0.0.1:8080/mcp"
	urlVariable = "TOOLCRIB_URL"
	keyVariable = "TOOLCRIB_API_KEY" // may be set always, so it is no error where it has no use
)

// target names the MCP server that a command talks to: one that runs at a URL,
// one of a file, or one that is started for the occasion.
type target struct {
	URL     string        `help:"Talk to the server at URL (with no target given: TOOLCRIB_URL, else ${url})." placeholder:"URL"`
	Config  string        `help:"Talk to a server of this configuration file." placeholder:"FILE"`
	Server  string        `help:"Which server of the file; needed when it has several." placeholder:"NAME"`
	APIKey  string        `name:"api-key" env:"TOOLCRIB_API_KEY" help:"Bearer token for --url; others can see flags, not the variable." placeholder:"KEY"`
	Env     []string      `help:"Set a variable for COMMAND; K alone passes on your own. May be repeated." placeholder:"K=V" sep:"none"`
	Timeout time.Duration `help:"Give up after this time." default:"5m"`
	Command []string      `arg:"" optional:"" name:"command" help:"After --: start this stdio server, or package, and talk to it."`

	config *v1.Config `kong:"-"` // that of the server
	given  string     `kong:"-"` // in place of URL, where that was given without a path
	token  string     `kong:"-"` // of a login
}

// targetHelp is the part of the help that tools and call share.
const targetHelp = `
Which server: --url talks to one that runs already, --config to one of a file,
and a command after -- is started and spoken to over its standard input and
output. Without any of them it is the gateway that the variable TOOLCRIB_URL
names, else the one at ` + defaultURL + `. A URL without a path,
as in https://tools.example.com, means /mcp there, as it does for all commands; a
server that has no /mcp is spoken to at the URL as it is given.
`

// server returns the server that the flags name.
func (t *target) server(sys *system) (name string, s *v1.Server, err error) {
	if err := t.check(sys); err != nil {
		return "", nil, err
	}
	t.config = unconfigured()
	switch {
	case t.Config != "":
		name, s, err = t.fromFile()
	case len(t.Command) > 0:
		name, s, err = commandServer(t.Command, t.Env)
	default:
		name, s, err = t.remote()
	}
	if err != nil {
		return "", nil, err
	}
	s.SetDefaults()
	return name, s, nil
}

// gatewayURL is the endpoint of the gateway that the environment names; empty where it names none.
func gatewayURL() (string, error) {
	text := os.Getenv(urlVariable)
	if text == "" {
		return "", nil
	}
	endpoint, err := endpointURL(text)
	if err != nil {
		return "", usagef(urlVariable+": %w", err)
	}
	return endpoint, nil
}

// pathed is the endpoint at a URL, which is /mcp where that has no path.
func pathed(text string) string {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return text
	}
	u.Path = "/mcp"
	return u.String()
}

// endpointURL is the endpoint of the gateway at a URL that a person gave.
func endpointURL(text string) (string, error) {
	origin, err := originOf(text)
	if err != nil {
		return "", err
	}
	_, rest, has := strings.Cut(text, "://")
	if !has {
		rest = text
	}
	_, path, _ := strings.Cut(rest, "/")
	return origin + "/" + cmp.Or(path, "mcp"), nil
}

// remote is the server at --url, which goes by its address.
func (t *target) remote() (string, *v1.Server, error) {
	s := &v1.Server{URL: t.URL}
	if s.URL == "" {
		s.URL = defaultURL
	}
	if token := cmp.Or(t.APIKey, t.token); token != "" {
		s.Headers = map[string]string{"Authorization": "Bearer " + token}
	}
	s.SetDefaults()
	return address(s.URL), s, checkRemote(s)
}

// check refuses combinations of flags of which some would be ignored.
func (t *target) check(sys *system) error {
	given := 0
	for _, is := range []bool{t.URL != "", t.Config != "", len(t.Command) > 0} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return usagef("give only one of --url, --config and a command after --")
	case len(t.Command) != len(sys.command):
		return usagef("unexpected argument %q (a command to start stands after --; arguments of a tool are --arg NAME=VALUE)", t.Command[0])
	case t.Server != "" && t.Config == "":
		return usagef("--server chooses a server of a file: it needs --config FILE")
	case len(t.Env) > 0 && len(t.Command) == 0:
		return usagef("--env sets variables of a command: it needs -- COMMAND")
	case t.APIKey != os.Getenv(keyVariable) && given == 1 && t.URL == "":
		return usagef("--api-key goes with --url; the servers of a file have headers, a command has --env")
	case t.Timeout <= 0:
		return usagef("--timeout must be longer than 0s")
	}
	return nil
}

// unconfigured is the configuration of a command line that names no file.
func unconfigured() *v1.Config {
	c, problems := v1.Parse([]byte("mcpServers: {}"), v1.Options{})
	if len(problems) > 0 { // a variable that the command has no use for
		return v1.New()
	}
	return c
}

// fromFile picks the server of the configuration file.
func (t *target) fromFile() (string, *v1.Server, error) {
	c, err := readConfig(t.Config)
	if err != nil {
		return "", nil, err
	}
	t.config = c
	names := c.ServerNames()
	name := t.Server
	if name == "" && len(names) == 1 {
		name = names[0]
	}
	if s := c.MCPServers[name]; s != nil && !s.Disabled {
		return name, s, nil
	}
	switch {
	case len(names) == 0:
		return "", nil, failf("%s has no servers", t.Config)
	case name == "":
		return "", nil, usagef("%s has several servers; choose one with --server: %s", t.Config, strings.Join(names, ", "))
	default:
		return "", nil, usagef("%s has no server %q; it has: %s", t.Config, name, strings.Join(names, ", "))
	}
}

// commandServer is the stdio server that a command line starts. Its owner typed it, so that launch.templates,
// launch.inline and launch.approval, which guard against whoever can change a file, have no say.
func commandServer(command, env []string) (string, *v1.Server, error) {
	vars, err := variables(env)
	if err != nil {
		return "", nil, err
	}
	if v1.IsPackage(command[0]) {
		p, err := v1.ParsePackage(command[0])
		if err != nil {
			return "", nil, usagef("%q %w", command[0], err)
		}
		return path.Base(p.Name), &v1.Server{Package: command[0], Args: command[1:], Env: vars}, nil
	}
	s := &v1.Server{Command: command[0], Args: command[1:], Env: vars}
	return commandName(s), s, nil
}

// variables reads K=V pairs; K alone takes the value that this process has.
func variables(pairs []string) (map[string]string, error) {
	vars := make(map[string]string, len(pairs))
	for _, pair := range pairs {
		name, value, has := strings.Cut(pair, "=")
		if !has {
			if value, has = os.LookupEnv(name); !has {
				return nil, usagef("--env %s: the variable is not set here; give it a value: --env %s=VALUE", name, name)
			}
		}
		if name == "" {
			return nil, usagef("--env %s: the name is missing; write --env NAME=VALUE", pair)
		}
		vars[name] = value
	}
	return vars, nil
}

// warnings are what a person should know of a server that is started, and nothing else of it.
func warnings(sys *system) *slog.Logger {
	return slog.New(slog.NewTextHandler(sys.stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// faults are what a command that says itself what it found should not keep from a person.
func faults(sys *system) *slog.Logger {
	return slog.New(slog.NewTextHandler(sys.stderr, &slog.HandlerOptions{Level: slog.LevelError}))
}

// with connects to the target, does f and disconnects.
func (t *target) with(ctx context.Context, sys *system, f func(context.Context, *app.Conn) error) (err error) {
	if t.URL == "" && t.Config == "" && len(t.Command) == 0 {
		if t.URL, err = gatewayURL(); err != nil {
			return err
		}
	} else if at := pathed(t.URL); at != t.URL {
		t.given, t.URL = t.URL, at
	}
	if t.Config == "" && len(t.Command) == 0 && t.APIKey == "" {
		if origin, err := login.Origin(cmp.Or(t.URL, defaultURL)); err == nil { // others get no credential
			if t.token, err = tokenFor(ctx, origin); err != nil {
				return err
			}
		}
	}
	name, server, err := t.server(sys)
	if err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, t.Timeout)
	defer cancel()
	o := app.DialOptions{Guard: guardCommand(), Confine: confineCommand(), Version: version(), Launch: launch.New(t.config, warnings(sys))}
	conn, err := app.Dial(limited, name, server, o)
	if err != nil && t.given != "" && errs.Of(err).Kind == errs.Protocol {
		server.URL = t.given
		if at, e := app.Dial(limited, name, server, o); e == nil {
			t.URL, conn, err = t.given, at, nil
		}
	}
	if err != nil {
		return t.explain(ctx, err)
	}
	defer conn.Close()
	return t.explain(ctx, f(limited, conn))
}

// explain gives errors of a conversation the words and the exit code that the
// user of a command needs.
func (t *target) explain(ctx context.Context, err error) error {
	var answer *mcp.Error
	var said *exitError
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return context.Canceled
	case errors.As(err, &answer):
		return &exitError{ExitFailed, fmt.Errorf("the server answered: %s (code %d)", printable(answer.Message), answer.Code)}
	case t.Config == "" && len(t.Command) == 0 && refusal(err) != 0:
		if refusal(err) == http.StatusUnauthorized {
			return t.refused(http.StatusUnauthorized) // the remedy says all
		}
		return because(err, t.refused(refusal(err)))
	case app.ReasonOf(err) != "":
		return because(err, err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer within %s (--timeout): %w", t.Timeout, err)
	case errors.As(err, &said): // the server was there
	case t.URL == "" && t.Config == "" && len(t.Command) == 0:
		return fmt.Errorf("%w\nIs the gateway running? Start it with \"toolcrib serve FILE\", or name a server: --url, --config or -- COMMAND", err)
	}
	return err
}

// because puts the reason of the server, if it gave one, before the advice.
func because(err, advice error) error {
	if reason := app.ReasonOf(err); reason != "" {
		return fmt.Errorf("the server says: %s\n%w", printable(reason), advice)
	}
	return advice
}

// refusal is the HTTP status with which a server refused who called, or 0.
func refusal(err error) int {
	e := errs.Of(err)
	for _, status := range []int{http.StatusUnauthorized, http.StatusForbidden} {
		if e.Kind == errs.Unavailable && strings.Contains(e.Text(), fmt.Sprintf("credential (HTTP %d)", status)) {
			return status
		}
	}
	return 0
}

// refused says what to do about a refusal: the headers of a file, of which the
// gateway's own error speaks, are not at hand here.
func (t *target) refused(status int) error {
	at := address(cmp.Or(t.URL, defaultURL))
	remedy := "set " + keyVariable + ", or log in with \"toolcrib login " + at + "\""
	switch {
	case status == http.StatusForbidden:
		return fmt.Errorf("%s refuses the call (HTTP %d): %s; a gateway also refuses names of its host that its allowedHosts lacks", at, status, remedy)
	case t.APIKey == "" && t.token != "":
		return fmt.Errorf("%s does not take the credential of your login (HTTP %d): log in again with \"toolcrib login %[1]s\"", at, status)
	case t.APIKey == "":
		return fmt.Errorf("%s wants a credential (HTTP %d): %s", at, status, remedy)
	}
	return fmt.Errorf("%s does not know this API key (HTTP %d): set "+keyVariable+" to another", at, status)
}
