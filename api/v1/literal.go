package v1

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Literal is a JSON value as it is written, numbers with all their digits.
type Literal string

// MarshalJSON returns the value itself.
func (l Literal) MarshalJSON() ([]byte, error) { return []byte(l), nil }

var errLiteral = errors.New("is not a value that JSON has")

// literal decodes any value.
func (d *decoder) literal(n *yaml.Node, v reflect.Value, path string) {
	var out strings.Builder
	if err := d.writeJSON(&out, n); err != nil || !json.Valid([]byte(out.String())) {
		d.fail(n.Line, path, "%v", errLiteral)
		return
	}
	v.SetString(out.String())
}

func (d *decoder) writeJSON(out *strings.Builder, n *yaml.Node) error {
	if d.nodes++; d.nodes > maxNodes {
		return errLiteral
	}
	n = resolved(n)
	switch n.Kind {
	case yaml.MappingNode:
		return d.writeMembers(out, n, "{", "}", 2)
	case yaml.SequenceNode:
		return d.writeMembers(out, n, "[", "]", 1)
	case yaml.ScalarNode:
		switch n.ShortTag() {
		case "!!int", "!!float", "!!bool":
			if json.Valid([]byte(n.Value)) {
				out.WriteString(n.Value)
				return nil
			}
			return errLiteral
		case "!!null":
			out.WriteString("null")
			return nil
		}
		text, err := json.Marshal(n.Value)
		out.Write(text)
		return err
	}
	return errLiteral
}

// writeMembers writes a list (each 1) or an object (each 2 nodes).
func (d *decoder) writeMembers(out *strings.Builder, n *yaml.Node, open, end string, each int) error {
	out.WriteString(open)
	for i, member := range n.Content {
		switch {
		case each == 2 && i%2 == 1:
			out.WriteByte(':')
		case i > 0:
			out.WriteByte(',')
		}
		if each == 2 && i%2 == 0 {
			key, err := json.Marshal(resolved(member).Value)
			if err != nil {
				return err
			}
			out.Write(key)
			continue
		}
		if err := d.writeJSON(out, member); err != nil {
			return err
		}
	}
	out.WriteString(end)
	return nil
}
