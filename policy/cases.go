package policy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Cases are a file of what policies are to decide.
type Cases struct {
	// Config is the configuration that is tested, from the folder of the file.
	Config string `yaml:"config"`
	// Principals and Tools are what cases refer to by name: who calls, and what hints a tool has.
	Principals map[string]Who    `yaml:"principals"`
	Tools      map[string]Hinted `yaml:"tools"`
	Cases      []Case            `yaml:"cases"`
}

// Case is one decision.
type Case struct {
	Name      string `yaml:"name"`
	Principal Named  `yaml:"principal"`
	What      `yaml:",inline"`
	Arguments JSON      `yaml:"arguments"`
	At        time.Time `yaml:"at"`
	Program   string    `yaml:"client"`
	Version   string    `yaml:"version"`
	Address   string    `yaml:"address"`
	Expect    string    `yaml:"expect" one:"allow, deny or step-up"`
	// Rule is a part of what decides.
	Rule string `yaml:"rule"`
}

// Named is the name of a principal, or one that is written out.
type Named struct {
	Name string
	Who  *Who
}

// UnmarshalYAML reads either.
func (n *Named) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		n.Name = node.Value
		return nil
	}
	n.Who = &Who{}
	return node.Decode(n.Who)
}

const (
	expectAllow = "allow"
	expectDeny  = "deny"
	expectMore  = "step-up"
)

// ParseCases reads a file of cases. Its error is all that is wrong with it: v1.Problems.
func ParseCases(data []byte) (*Cases, error) {
	root, problem := v1.Document(data)
	if problem != nil {
		return nil, v1.Problems{*problem}
	}
	var c Cases
	if root != nil {
		if problems := misfits(root, reflect.TypeFor[Cases](), ""); len(problems) > 0 {
			return nil, problems
		}
		if err := root.Decode(&c); err != nil {
			return nil, v1.Problems{{Message: "cannot be read: " + err.Error()}}
		}
	}
	if len(c.Cases) == 0 {
		return nil, v1.Problems{{Path: "cases", Message: "holds none; write {principal: …, tool: …, expect: allow} for each"}}
	}
	for i := range c.Cases {
		if c.Cases[i].Name == "" {
			c.Cases[i].Name = fmt.Sprintf("case %d", i+1)
		}
	}
	return &c, nil
}

// Result is how a case went.
type Result struct {
	Name string
	// Problem says what is otherwise than expected; empty when nothing is.
	Problem string
	// Explanation is nil where the case could not be decided.
	Explanation *Explanation
}

// Run has the cases decided.
func (cs *Cases) Run(answer func(*Question) (*Explanation, error)) []Result {
	results := make([]Result, len(cs.Cases))
	for i := range cs.Cases {
		results[i] = cs.run(answer, &cs.Cases[i])
	}
	return results
}

func (cs *Cases) run(answer func(*Question) (*Explanation, error), one *Case) Result {
	r := Result{Name: one.Name}
	q, err := cs.question(one)
	if err == nil {
		r.Explanation, err = answer(q)
	}
	if err != nil {
		r.Problem = err.Error()
		return r
	}
	got := expectDeny
	switch e := r.Explanation; {
	case e.Allowed:
		got = expectAllow
	case len(e.Scopes) > 0:
		got = expectMore
	}
	switch rule := r.Explanation.Rule; {
	case got != one.Expect:
		r.Problem = fmt.Sprintf("expected %s, got %s: %s", one.Expect, got, rule)
	case !strings.Contains(rule, one.Rule):
		r.Problem = fmt.Sprintf("expected the rule %q, but what decides is: %s", one.Rule, rule)
	}
	return r
}

func (cs *Cases) question(one *Case) (*Question, error) {
	q := &Question{What: one.What, At: one.At, Program: one.Program, Version: one.Version, Address: one.Address, Arguments: NoArgs}
	switch known, ok := cs.Principals[one.Principal.Name]; {
	case one.Principal.Who != nil:
		q.Who = *one.Principal.Who
	case ok:
		q.Who = known
	default:
		return nil, fmt.Errorf("there is no principal %q under principals", one.Principal.Name)
	}
	if one.Hints == (Hinted{}) {
		q.Hints = cs.Tools[one.Tool]
	}
	if one.Arguments != nil {
		q.Arguments = json.RawMessage(one.Arguments)
	}
	return q, nil
}

// JSON is a value of YAML, written as JSON.
type JSON []byte

// UnmarshalYAML writes a node as JSON.
func (j *JSON) UnmarshalYAML(node *yaml.Node) error {
	var b bytes.Buffer
	err := toJSON(&b, node, 0)
	*j = b.Bytes()
	return err
}

// toJSON writes a YAML node as JSON, with numbers digit by digit.
func toJSON(b *bytes.Buffer, n *yaml.Node, depth int) error {
	if depth > argsDeepest {
		return fmt.Errorf("has values nested deeper than %d", argsDeepest)
	}
	switch n.Kind {
	case yaml.MappingNode, yaml.SequenceNode:
		return listJSON(b, n, depth)
	case yaml.AliasNode:
		return errors.New("has an alias (*name); write the value out")
	}
	switch tag := n.ShortTag(); {
	case tag == "!!null":
		b.WriteString("null")
	case tag == "!!bool":
		b.WriteString(strings.ToLower(n.Value))
	case (tag == "!!int" || tag == "!!float") && json.Valid([]byte(n.Value)):
		b.WriteString(n.Value)
	default:
		text, err := json.Marshal(n.Value)
		if err != nil {
			return err
		}
		b.Write(text)
	}
	return nil
}

func listJSON(b *bytes.Buffer, n *yaml.Node, depth int) error {
	marks := "[]"
	if n.Kind == yaml.MappingNode {
		marks = "{}"
	}
	b.WriteByte(marks[0])
	for i, e := range n.Content {
		key := n.Kind == yaml.MappingNode && i%2 == 0
		switch {
		case i > 0 && n.Kind == yaml.MappingNode && !key:
			b.WriteByte(':')
		case i > 0:
			b.WriteByte(',')
		}
		if key {
			e = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: e.Value}
		}
		if err := toJSON(b, e, depth+1); err != nil {
			return err
		}
	}
	b.WriteByte(marks[1])
	return nil
}
