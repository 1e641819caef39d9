package policy

import (
	"bytes"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v4"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// misfits finds all of a document that does not fit a type, in words for whoever wrote it.
func misfits(n *yaml.Node, t reflect.Type, path string) v1.Problems {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if n.ShortTag() == "!!null" && t != reflect.TypeFor[JSON]() {
		return nil // a key without a value is a key left out
	}
	switch t {
	case reflect.TypeFor[Named]():
		if n.Kind == yaml.ScalarNode {
			return nil
		}
		t = reflect.TypeFor[Who]()
	case reflect.TypeFor[JSON](), reflect.TypeFor[time.Time]():
		return misfit(n, path, valueMisfit(n, t))
	}
	switch t.Kind() {
	case reflect.Interface:
		return nil
	case reflect.Struct, reflect.Map:
		if n.Kind != yaml.MappingNode {
			return misfit(n, path, "must be an object of keys and values")
		}
		return members(n, t, path)
	case reflect.Slice:
		if n.Kind != yaml.SequenceNode {
			return misfit(n, path, "must be a list, like [a, b]")
		}
		var problems v1.Problems
		for i, e := range n.Content {
			problems = append(problems, misfits(e, t.Elem(), path+"["+strconv.Itoa(i)+"]")...)
		}
		return problems
	case reflect.Bool:
		if n.ShortTag() != "!!bool" {
			return misfit(n, path, "must be true or false")
		}
	default:
		if n.Kind != yaml.ScalarNode {
			return misfit(n, path, "must be text")
		}
	}
	return nil
}

// misfit is what a node must be, if anything, as a problem.
func misfit(n *yaml.Node, path, must string) v1.Problems {
	if must == "" {
		return nil
	}
	if strings.HasPrefix(must, "must") {
		must = "is " + v1.KindOf(n) + "; " + must
	}
	return v1.Problems{{Path: path, Line: n.Line, Message: must}}
}

// valueMisfit is what is wrong with a value that has rules of its own.
func valueMisfit(n *yaml.Node, t reflect.Type) string {
	if t == reflect.TypeFor[JSON]() {
		if err := toJSON(new(bytes.Buffer), n, 0); err != nil {
			return err.Error()
		}
		return ""
	}
	var at time.Time
	if n.Kind != yaml.ScalarNode || n.Decode(&at) != nil {
		return "is no time; write it as 2026-11-20T10:00:00Z"
	}
	return ""
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
			maps.Copy(fields, fieldsOf(f.Type))
			continue
		}
		fields[name] = field{f.Type, f.Tag.Get("one")}
	}
	return fields
}
