package v1

import (
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"
)

// entry is a member of a mapping.
type entry struct {
	key   string
	line  int
	value *yaml.Node
}

// maxMerges bounds how deep merge keys may nest; an anchor may hold itself.
const maxMerges = 8

// entries returns the members of a mapping, merge keys (<<) resolved. It is not
// ok when n is no mapping.
func (d *decoder) entries(n *yaml.Node, path string) ([]entry, bool) {
	if n.Kind != yaml.MappingNode {
		hint := ""
		if n.ShortTag() == "!!bool" && n.Value == "true" {
			hint = "; write {} for the defaults"
		}
		d.fail(n.Line, path, "is %s; must be an object of keys and values%s", kindOf(n), hint)
		return nil, false
	}
	seen := map[string]int{}
	entries := d.members(n, path, seen)
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].ShortTag() == "!!merge" {
			entries = d.merge(entries, n.Content[i+1], path, seen, maxMerges)
		}
	}
	return entries, true
}

// members returns the members that stand in the mapping itself.
func (d *decoder) members(n *yaml.Node, path string, seen map[string]int) []entry {
	var entries []entry
	for i := 0; i+1 < len(n.Content); i += 2 {
		k := resolved(n.Content[i])
		line := n.Content[i].Line
		switch {
		case k.ShortTag() == "!!merge":
		case k.Kind != yaml.ScalarNode:
			d.fail(line, path, "has %s as a key; keys are text", kindOf(k))
		case seen[k.Value] != 0:
			d.fail(line, childPath(path, k.Value), "is given twice, first in line %d", seen[k.Value])
		default:
			seen[k.Value] = line
			entries = append(entries, entry{k.Value, line, n.Content[i+1]})
		}
	}
	return entries
}

// merge adds the members that a merge key brings and that are not there yet.
func (d *decoder) merge(entries []entry, n *yaml.Node, path string, seen map[string]int, depth int) []entry {
	n = resolved(n)
	if d.nodes += len(n.Content); d.nodes > maxNodes {
		return entries // reported where the next value is read
	}
	switch {
	case depth == 0:
		d.fail(n.Line, path, "has merge keys (<<) nested deeper than %d", maxMerges)
	case n.Kind == yaml.SequenceNode:
		for _, item := range n.Content[:min(len(n.Content), maxMerges)] {
			entries = d.merge(entries, item, path, seen, depth-1)
		}
	case n.Kind != yaml.MappingNode:
		d.fail(n.Line, path, "has a merge key (<<) with %s; it takes an alias of an object", kindOf(n))
	default:
		for i := 0; i+1 < len(n.Content); i += 2 {
			k, v := resolved(n.Content[i]), n.Content[i+1]
			if k.ShortTag() == "!!merge" {
				entries = d.merge(entries, v, path, seen, depth-1)
			} else if k.Kind == yaml.ScalarNode && seen[k.Value] == 0 {
				seen[k.Value] = k.Line
				entries = append(entries, entry{k.Value, k.Line, v})
			}
		}
	}
	return entries
}

// ChildPath appends a key to the path of a problem.
func ChildPath(path, key string) string { return childPath(path, key) }

// childPath appends a key to a path: a.b, or a["b.c"] when it needs quotes.
func childPath(path, key string) string {
	plain := key != ""
	for _, r := range key {
		plain = plain && (isNameRune(r) || r == '$')
	}
	switch {
	case !plain:
		return path + "[" + strconv.Quote(key) + "]"
	case path == "":
		return key
	}
	return path + "." + key
}

func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// fieldsOf maps the keys of a type, other spellings included, to its fields.
func fieldsOf(t reflect.Type) map[string]int {
	fields := map[string]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		if name := jsonName(f); name != "-" {
			fields[name] = i
		}
		for alias := range strings.SplitSeq(f.Tag.Get("alias"), ",") {
			if alias != "" {
				fields[alias] = i
			}
		}
	}
	return fields
}

var wordSigns = strings.NewReplacer("_", "", "-", "")

// nearest returns the key that was probably meant, or "".
func nearest(key string, fields map[string]int) string {
	return Nearest(key, slices.Sorted(maps.Keys(fields)))
}

// Nearest returns the one of names that was probably meant by key, or "".
func Nearest(key string, names []string) string {
	if len(key) > 64 {
		return ""
	}
	best, most := "", 1+len(key)/4
	for _, name := range names {
		if strings.EqualFold(wordSigns.Replace(key), name) {
			return name
		}
		if d := distance(key, name); d <= most {
			best, most = name, d-1
		}
	}
	return best
}

// distance is the Levenshtein distance of two short texts, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
