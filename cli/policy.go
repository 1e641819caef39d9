package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/gateway"
	"github.com/toolcrib/toolcrib/plan"
	"github.com/toolcrib/toolcrib/policy"
)

// policyCmd are the commands about policies.
type policyCmd struct {
	Test policyTestCmd `cmd:"" help:"Test what policies decide, by cases in a file."`
	Diff policyDiffCmd `cmd:"" help:"Show who gains and who loses which tools, prompts, resources and toolsets by a change of policies."`
	Show policyShowCmd `cmd:"" help:"Show all policies in the Cedar language."`
}

// readPolicies reads a configuration and compiles its policies.
func readPolicies(file string) (*plan.Plan, error) {
	config, err := readConfig(file)
	if err != nil {
		return nil, err
	}
	p, err := plan.Compile(config)
	if err != nil {
		return nil, policyError(file, err)
	}
	return p, nil
}

// policyError tells what is wrong with the policies of a file.
func policyError(file string, err error) error {
	if problems, ok := errors.AsType[policy.Problems](err); ok {
		return failf("the policies of %s have %s:\n%w", file, count(len(problems), "problem"), err)
	}
	return failf("%s: %w", file, err)
}

type policyTestCmd struct {
	File    string `arg:"" help:"Cases, in YAML."`
	Config  string `short:"c" placeholder:"FILE" help:"Configuration to test (default: that which the file names as config)."`
	Verbose bool   `short:"v" help:"Show the cases that pass too, with what decided."`
}

func (*policyTestCmd) Help() string {
	return `No server is started. Each case says who calls what with which arguments, and
what is expected: allow, deny, or step-up where a token with further scopes would
be allowed. See docs/policies.md for all keys.

    config: toolcrib.yaml
    principals:
      ann: {subject: ann, groups: [analysts]}
    tools:
      search__find: {readOnly: true}
    cases:
    - {principal: ann, tool: search__find, expect: allow}
    - {principal: ann, tool: pay__transfer, arguments: {amount: 5000}, expect: deny, rule: amount-limit}

Exit codes: 0 all cases pass, 1 some do not or a file has problems, 2 a file cannot be read.
`
}

func (c *policyTestCmd) Run(sys *system) error {
	data, err := os.ReadFile(c.File)
	if err != nil {
		return usagef("%w", err)
	}
	cases, err := policy.ParseCases(data)
	if problems, ok := errors.AsType[v1.Problems](err); ok {
		return failf("%s has %s:\n%w", c.File, count(len(problems), "problem"), err)
	} else if err != nil {
		return failf("%s: %w", c.File, err)
	}
	config := c.Config
	if config == "" && cases.Config == "" {
		return usagef("%s names no configuration; write config: FILE into it, or give --config", c.File)
	} else if config == "" {
		config = filepath.Join(filepath.Dir(c.File), cases.Config)
	}
	p, err := readPolicies(config)
	if err != nil {
		return err
	}
	failed := 0
	results := cases.Run(func(q *policy.Question) (*policy.Explanation, error) { return gateway.Explain(p, q) })
	for _, r := range results {
		switch {
		case r.Problem != "":
			failed++
			_, _ = fmt.Fprintf(sys.stdout, "FAIL  %s: %s\n", printable(r.Name), printable(r.Problem))
		case c.Verbose:
			_, _ = fmt.Fprintf(sys.stdout, "ok    %s: %s\n", printable(r.Name), printable(r.Explanation.Rule))
		}
	}
	_, _ = fmt.Fprintf(sys.stdout, "%s, %d passed, %d failed\n", count(len(results), "case"), len(results)-failed, failed)
	if failed > 0 {
		return &exitError{code: ExitFailed}
	}
	return nil
}

type policyShowCmd struct {
	File   string `arg:"" help:"Configuration."`
	Schema bool   `help:"Show the schema of policies instead: what they can ask for."`
}

func (*policyShowCmd) Help() string {
	return `Shows the Cedar policies that roles and bindings stand for, and those of the
Cedar files as they count: one that leaves its action open is about use.
`
}

func (c *policyShowCmd) Run(sys *system) error {
	p, err := readPolicies(c.File)
	if err != nil {
		return err
	}
	text := strings.TrimSpace(string(p.Policies.Cedar())) + "\n"
	if c.Schema {
		text = policy.Schema(p.Config)
	}
	_, err = io.WriteString(sys.stdout, text)
	return err
}
