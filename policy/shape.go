package policy

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// misfits finds all of a document that does not fit a type, in words for whoever wrote it.
func misfits(n *yaml.Node, t reflect.Type, path string) (problems v1.Problems) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	fail := func(format string, args ...any) {
		problems = append(problems, v1.Problem{Path: path, Line: n.Line, Message: fmt.Sprintf(format, args...)})
	}
	if n.ShortTag() == "!!null" && t.Kind() != reflect.Interface && t != reflect.TypeFor[JSON]() {
		return nil // a key without a value is a key left out
	}
	switch {
	case t.Kind() == reflect.Pointer:
		return misfits(n, t.Elem(), path)
	case t == reflect.TypeFor[Named]() && n.Kind == yaml.ScalarNode, t.Kind() == reflect.Interface:
	case t == reflect.TypeFor[Named]():
		return misfits(n, reflect.TypeFor[Who](), path)
	case t == reflect.TypeFor[JSON]():
		if err := toJSON(new(bytes.Buffer), n, 0); err != nil {
			fail("%v", err)
		}
	case t == reflect.TypeFor[time.Time]():
		var at time.Time
		if n.Kind != yaml.ScalarNode || n.Decode(&at) != nil {
			fail("is no time; write it as 2026-11-20T10:00:00Z")
		}
	case t.Kind() == reflect.Struct, t.Kind() == reflect.Map:
		if n.Kind != yaml.MappingNode {
			fail("is %s; must be an object of keys and values", v1.KindOf(n))
			break
		}
		return members(n, t, path)
	case t.Kind() == reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			fail("is %s; must be a list, like [a, b]", v1.KindOf(n))
			break
		}
		for i, e := range n.Content {
			problems = append(problems, misfits(e, t.Elem(), path+"["+strconv.Itoa(i)+"]")...)
		}
	case t.Kind() == reflect.Bool:
		if n.Kind != yaml.ScalarNode || n.ShortTag() != "!!bool" {
			fail("is %s; must be true or false", v1.KindOf(n))
		}
	case n.Kind != yaml.ScalarNode:
		fail("is %s; must be text", v1.KindOf(n))
	}
	return problems
}

// members finds what does not fit of the keys and values of an object.
func members(n *yaml.Node, t reflect.Type, path string) (problems v1.Problems) {
	fields, first := fieldsOf(t), map[string]int{}
	fail := func(line int, key, format string, args ...any) {
		problems = append(problems, v1.Problem{Path: v1.ChildPath(path, key), Line: line, Message: fmt.Sprintf(format, args...)})
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, value := n.Content[i], n.Content[i+1]
		if k.Kind != yaml.ScalarNode || k.ShortTag() == "!!merge" {
			problems = append(problems, v1.Problem{Path: path, Line: k.Line, Message: "has a key that is no plain text; write the keys out"})
			continue
		}
		key := k.Value
		if first[key] > 0 {
			fail(k.Line, key, "is given twice, first in line %d", first[key])
			continue
		}
		first[key] = k.Line
		f, known := fields[key]
		switch {
		case t.Kind() == reflect.Map:
			problems = append(problems, misfits(value, t.Elem(), v1.ChildPath(path, key))...)
		case !known:
			fail(k.Line, key, "%s", unknownKey(key, fields))
		case f.one != "" && (value.Kind != yaml.ScalarNode || !isOne(value.Value, f.one)):
			fail(k.Line, key, "is %q; write %s", value.Value, f.one)
		default:
			problems = append(problems, misfits(value, f.of, v1.ChildPath(path, key))...)
		}
	}
	for key, f := range fields {
		if f.one != "" && first[key] == 0 {
			fail(n.Line, key, "is missing; write %s", f.one)
		}
	}
	return problems
}

func unknownKey(key string, fields map[string]field) string {
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	if near := v1.Nearest(key, names); near != "" {
		return fmt.Sprintf("is not a known key; did you mean %q?", near)
	}
	return "is not a known key; known here are: " + strings.Join(names, ", ")
}

// field is what may stand behind a key: a value of a type, perhaps one of a few words.
type field struct {
	of  reflect.Type
	one string // "a, b or c"
}

func isOne(text, of string) bool {
	return slices.Contains(strings.Split(strings.ReplaceAll(of, " or ", ", "), ", "), text)
}

// fieldsOf are the keys of a struct; none of a map, which may have any.
func fieldsOf(t reflect.Type) map[string]field {
	fields := map[string]field{}
	if t.Kind() != reflect.Struct {
		return fields
	}
	for f := range t.Fields() {
		name, inline, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		if inline == "inline" {
			for name, of := range fieldsOf(f.Type) {
				fields[name] = of
			}
			continue
		}
		fields[name] = field{f.Type, f.Tag.Get("one")}
	}
	return fields
}
