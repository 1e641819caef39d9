package policy

import (
	"maps"
	"slices"
	"strings"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/schema"
	"github.com/cedar-policy/cedar-go/x/exp/schema/validate"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Schema returns the schema of Cedar policies, in Cedar's language, with the labels that the servers of a
// configuration have. Arguments and attributes of principals are as they come and not in it.
func Schema(c *v1.Config) string {
	names := labelsOf(c)
	labels := make([]string, 0, len(names))
	for _, name := range names {
		labels = append(labels, string(cedar.String(name).MarshalCedar())+"?: String")
	}
	return strings.Replace(schemaText, "LABELS", strings.Join(labels, ", "), 1)
}

const schemaText = `entity Tenant, Group, Role, Server, Toolset;

entity User in [Tenant, Group, Role] {
  subject: String,
  tenant: String,
  groups: Set<String>,
  roles: Set<String>,
  scopes: Set<String>,
  issuer: String,
  client: String,
  method: String,
  attributes: {},
};

entity Tool, Prompt, Resource in [Server, Toolset] {
  server: String,
  toolset: String,
  name: String,
  shown: String,
  labels: {LABELS},
  readOnly: Bool,
  destructive: Bool,
  idempotent: Bool,
  openWorld: Bool,
  winding: Bool,
};

entity Management {
  area: String,
  access: String,
};

type Facts = {
  args: {},
  numbers: {},
  time: {
    now: datetime,
    epoch: Long,
    year: Long,
    month: Long,
    day: Long,
    weekday: Long,
    hour: Long,
    minute: Long,
    date: String,
  },
  client: {name: String, version: String},
  address?: ipaddr,
};

action use;
action call in [use] appliesTo {principal: User, resource: Tool, context: Facts};
action get in [use] appliesTo {principal: User, resource: Prompt, context: Facts};
action read in [use] appliesTo {principal: User, resource: Resource, context: Facts};
action manage appliesTo {principal: User, resource: Management, context: Facts};
`

// labelsOf are the labels that some server has.
func labelsOf(c *v1.Config) []string {
	labels := map[string]bool{}
	for _, s := range c.MCPServers {
		for name := range s.Labels {
			labels[name] = true
		}
	}
	return slices.Sorted(maps.Keys(labels))
}

// validator checks the types of policies. What an object or a call may lack counts as there: a condition that asks for
// it and does not find it cannot be evaluated, which is safe.
func validator(c *v1.Config) (*validate.Validator, error) {
	var s schema.Schema
	if err := s.UnmarshalCedar([]byte(strings.ReplaceAll(Schema(c), "?:", ":"))); err != nil {
		return nil, err
	}
	resolved, err := s.Resolve()
	if err != nil {
		return nil, err
	}
	return validate.New(resolved, validate.WithPermissive()), nil
}
