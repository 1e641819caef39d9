package cli

import (
	"io"
	"os"

	"github.com/toolcrib/toolcrib/telemetry/alerts"
)

type alertsCmd struct {
	Values     string `short:"f" placeholder:"FILE" help:"Thresholds, windows and objectives, in YAML; what it leaves out is as by default."`
	ShowValues bool   `help:"Print the values in place of the rules, with those that were left out."`
	Output     string `short:"o" placeholder:"FILE" help:"File to write (default: standard output)."`
}

func (*alertsCmd) Help() string {
	return `Prints recording rules and alerts for Prometheus, each with a severity, a summary and
a link to its runbook. deploy/prometheus/rules.yaml is what it prints without values.
See docs/alerts.md for all values.

Examples:

    toolcrib alerts > rules.yaml
    toolcrib alerts --show-values > values.yaml
    toolcrib alerts --values values.yaml --output /etc/prometheus/rules/toolcrib.yaml
`
}

// Run prints the rules.
func (c *alertsCmd) Run(sys *system) error {
	values := alerts.Defaults()
	if c.Values != "" {
		read, err := readValues(c.Values)
		if err != nil {
			return err
		}
		values = read
	}
	text, err := alerts.Generate(values)
	if c.ShowValues {
		text, err = values.YAML()
	}
	if err != nil {
		return err
	}
	return c.write(sys.stdout, text)
}

func readValues(file string) (*alerts.Values, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, &exitError{ExitUsage, err}
	}
	defer f.Close()
	values, err := alerts.Read(f)
	if err != nil {
		return nil, failf("the values of %s are wrong:\n%w", file, err)
	}
	return values, nil
}

func (c *alertsCmd) write(stdout io.Writer, text []byte) error {
	if c.Output != "" {
		return os.WriteFile(c.Output, text, 0o644) //nolint:gosec // rules are no secret, and Prometheus is another user
	}
	_, err := stdout.Write(text)
	return err
}
