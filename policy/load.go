package policy

import (
	"github.com/cedar-policy/cedar-go"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// load parses the Cedar files of policies.
func load(c *v1.Config, p *v1.Policies) ([]*cedar.Policy, error) {
	var all []*cedar.Policy
	for _, f := range p.Files {
		list, err := cedar.NewPolicyListFromBytes(f.Name, []byte(f.Text))
		if err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}

func contradictions(*Set) []string { return nil }
