package launch

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// launched is all that the hash of a launch is over. Arguments, working directory and so on are those of the loaded
// configuration: what ${env:…} and ${file:…} stood for then counts, since that is what is started, and references to
// the caller count as they are written. Of the environment the names count; the values only of variables that change
// which program runs (PATH, NODE_OPTIONS and the like).
type launched struct {
	Command  string            `json:"command"`
	Package  string            `json:"package"`
	Digest   string            `json:"digest"`
	Args     []string          `json:"args"`
	Env      []string          `json:"env"`
	Steering map[string]string `json:"steering"`
	Cwd      string            `json:"cwd"`
	User     string            `json:"user"`
	Sandbox  *v1.Sandbox       `json:"sandbox,omitempty"`
}

// Approve is the approval of a server as it is now. A package must have been pulled.
func (l *Lock) Approve(spec *v1.Server) (*Approval, error) {
	a := &Approval{Command: spec.Command, Package: spec.Package, Env: slices.Sorted(maps.Keys(spec.Env))}
	if spec.Package != "" {
		e, err := l.entry(spec.Package)
		switch {
		case errors.Is(err, errUnpinned):
			return nil, fmt.Errorf("package %s was not pulled, so that there is nothing certain to approve: run toolcrib pull", spec.Package)
		case err != nil:
			return nil, err
		}
		a.Digest = e.Digest
		if e.Scripts {
			a.Digest += "+scripts"
		}
	}
	what := launched{
		Command: spec.Command, Package: spec.Package, Digest: a.Digest, Args: append([]string{}, spec.Args...),
		Env: append([]string{}, a.Env...), Steering: map[string]string{}, Cwd: spec.Cwd, User: spec.User,
		Sandbox: spec.Sandbox,
	}
	for name, value := range spec.Env {
		if v1.Steers(name) {
			what.Steering[name] = value
		}
	}
	data, err := json.Marshal(what)
	a.Hash = digestOf(data)
	return a, err
}

// Approved tells whether a server may be started as it is, and if not, what differs from what was approved.
func (l *Lock) Approved(name string, spec *v1.Server) (bool, string, error) {
	now, err := l.Approve(spec)
	if err != nil {
		return false, "", err
	}
	was := l.Approvals[name]
	switch {
	case was == nil:
		return false, "was never approved", nil
	case was.Hash == now.Hash:
		return true, "", nil
	}
	return false, "differs from what was approved, in " + was.differs(now), nil
}

// differs names what is not as it was approved.
func (a *Approval) differs(now *Approval) string {
	var what []string
	for _, part := range []struct {
		name    string
		differs bool
	}{
		{"command", a.Command != now.Command},
		{"package", a.Package != now.Package},
		{"content of the package", a.Package == now.Package && a.Digest != now.Digest},
		{"names of environment variables", !slices.Equal(a.Env, now.Env)},
	} {
		if part.differs {
			what = append(what, part.name)
		}
	}
	if len(what) == 0 {
		return "args, cwd, user, sandbox or a variable that changes what runs"
	}
	return strings.Join(what, " and ")
}

func (l *Lock) approved(name string, spec *v1.Server, file string) error {
	ok, why, err := l.Approved(name, spec)
	switch {
	case err != nil:
		return err
	case ok:
		return nil
	}
	return fmt.Errorf("%s (launch.approval is required, %s): look at what it would start and run: toolcrib approve FILE %q", why, file, name)
}
