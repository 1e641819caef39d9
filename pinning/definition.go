package pinning

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// Definition is what was approved of a tool, or what a server says of it now.
type Definition struct {
	// Hash is over the whole canonical definition: "sha256:" and hexadecimal digits.
	Hash string `json:"hash"`
	// Members are its members in canonical form, by name; name itself is not among them.
	Members map[string]jsontext.Value `json:"members"`
}

// pinnedMeta are the members of _meta that count: they have a host show an app for the tool. All others may hold whatever a server
// keeps there for itself, and change with each list.
var pinnedMeta = []string{"ui", "ui/resourceUri"}

// Define makes the definition of a tool from its element of a list, as the server sent it. It fails for what is no JSON object
// with each key once, in proper UTF-8.
func Define(raw []byte) (*Definition, error) {
	canonical := jsontext.Value(slices.Clone(raw))
	if err := canonicalize(&canonical); err != nil {
		return nil, fmt.Errorf("the definition is no canonical JSON: %w", err)
	}
	members, err := membersOf(canonical)
	if err != nil {
		return nil, err
	}
	if err := reduceMeta(members); err != nil {
		return nil, err
	}
	d := &Definition{Members: members}
	d.Hash = d.hash()
	delete(d.Members, "name")
	return d, nil
}

// canonicalize sorts keys and drops white space. Numbers stay as they are written: 1.0 and 1 may be two things to a server.
func canonicalize(v *jsontext.Value) error {
	return v.Canonicalize(jsontext.CanonicalizeRawInts(false), jsontext.CanonicalizeRawFloats(false))
}

func membersOf(object jsontext.Value) (map[string]jsontext.Value, error) {
	dec := jsontext.NewDecoder(strings.NewReader(string(object)))
	if t, err := dec.ReadToken(); err != nil || t.Kind() != '{' {
		return nil, fmt.Errorf("the definition is no JSON object")
	}
	members := map[string]jsontext.Value{}
	for dec.PeekKind() != '}' {
		key, err := dec.ReadToken()
		if err != nil {
			return nil, err
		}
		name := key.String()
		value, err := dec.ReadValue()
		if err != nil {
			return nil, err
		}
		members[name] = slices.Clone(value)
	}
	return members, nil
}

// reduceMeta leaves of _meta what counts.
func reduceMeta(members map[string]jsontext.Value) error {
	meta, there := members["_meta"]
	if !there {
		return nil
	}
	delete(members, "_meta")
	if meta.Kind() != '{' {
		return nil
	}
	inner, err := membersOf(meta)
	if err != nil {
		return err
	}
	for _, name := range pinnedMeta {
		if value, there := inner[name]; there {
			members["_meta."+name] = value
		}
	}
	return nil
}

// hash is over the names and values of all members in order, each with its length before it, so that no two definitions look
// alike.
func (d *Definition) hash() string {
	h := sha256.New()
	for _, name := range d.names() {
		fmt.Fprintf(h, "%d:%s%d:%s", len(name), name, len(d.Members[name]), d.Members[name])
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

func (d *Definition) names() []string {
	names := make([]string, 0, len(d.Members))
	for name := range d.Members {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}
