package v1

import (
	"encoding"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"github.com/toolcrib/toolcrib/api/v1/internal/foreign"
)

// maxNodes bounds what aliases may blow a file up to.
const maxNodes = 200_000

// decoder fills the types of this package from YAML nodes, strictly, and goes
// on after a problem.
type decoder struct {
	opts     Options
	problems Problems
	warnings Problems
	lines    map[string]int    // path → line of its key
	origins  map[string]string // path → environment variable that set it
	nodes    int
	lenient  bool // inside a disabled server: references need not resolve
	caller   bool // in a value that may refer to the caller
}

func (d *decoder) fail(line int, path, format string, args ...any) {
	d.problems = append(d.problems, Problem{Path: path, Line: line, Message: fmt.Sprintf(format, args...)})
}

func (d *decoder) warn(line int, path, reason string) {
	d.warnings = append(d.warnings, Problem{Path: path, Line: line, Message: reason})
}

func (d *decoder) document(root *yaml.Node, c *Config) {
	setDefaults(reflect.ValueOf(c).Elem())
	d.value(root, reflect.ValueOf(c).Elem(), "", "")
}

// value decodes n into v. tag is the struct tag of the field that holds v.
func (d *decoder) value(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if d.nodes++; d.nodes > maxNodes {
		if d.nodes == maxNodes+1 {
			d.fail(n.Line, "", "has more than %d values, aliases resolved", maxNodes)
		}
		return
	}
	n = resolved(n)
	if n.ShortTag() == "!!null" && tag != tagElement {
		if tag.Get("null") == "refused" {
			d.fail(n.Line, path, "has no value: %s, or remove the key", valueFor[v.Kind()])
		}
		return // a key without a value is a key left out
	}
	if v.Kind() == reflect.Pointer {
		v.Set(reflect.New(v.Type().Elem()))
		v = v.Elem()
	}
	if v.Type() == reflect.TypeFor[Literal]() {
		d.literal(n, v, path)
		return
	}
	if i, ok := reflect.TypeAssert[*Instance](v.Addr()); ok && n.Kind == yaml.ScalarNode {
		setDefaults(v)
		d.scalar(n, reflect.ValueOf(&i.URL).Elem(), path, tag)
		return
	}
	if v.Type() == reflect.TypeFor[Dimensions]() && n.Kind == yaml.ScalarNode {
		d.list(&yaml.Node{Kind: yaml.SequenceNode, Line: n.Line, Content: []*yaml.Node{n}}, v, path)
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		d.object(n, v, path)
	case reflect.Map:
		d.dictionary(n, v, path, tag)
	case reflect.Slice:
		d.list(n, v, path)
	default:
		d.scalar(n, v, path, tag)
	}
}

// valueFor is what to write where a key that says who may do what has no value, as when all its entries are comments. Taken for
// left out, it would open what it closed.
var valueFor = map[reflect.Kind]string{
	reflect.Slice: "write [] for none", reflect.Map: "write {} for none", reflect.Pointer: "give it one", reflect.Struct: "give it one",
}

// tagElement marks an element of a list or map, where null is not "left out".
const tagElement reflect.StructTag = `element:"true"`

func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

func (d *decoder) object(n *yaml.Node, v reflect.Value, path string) {
	setDefaults(v)
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	if s, ok := reflect.TypeAssert[*Server](v.Addr()); ok {
		s.Disabled = d.disabled(entries)
		defer func(was bool) { d.lenient = was }(d.lenient)
		d.lenient = s.Disabled
	}
	fields, ignored := fieldsOf(v.Type()), foreignKeys(v.Type())
	seen := map[int]entry{}
	for _, e := range entries {
		i, ok := fields[e.key]
		if !ok {
			d.unknown(e, childPath(path, e.key), fields, ignored)
			continue
		}
		// Other spellings of a key go by its name, as Validate knows it.
		child := childPath(path, jsonName(v.Type().Field(i)))
		if other, ok := seen[i]; ok {
			if a, b := resolved(e.value), resolved(other.value); a.Kind != yaml.ScalarNode || a.Value != b.Value {
				d.fail(e.line, childPath(path, e.key), "means the same as %q, which is given too; keep one", other.key)
			}
			continue
		}
		seen[i] = e
		d.lines[child] = e.line
		d.caller = v.Type().Field(i).Tag.Get("refers") == "caller"
		d.value(e.value, v.Field(i), child, v.Type().Field(i).Tag)
		d.caller = false
	}
}

// disabled looks ahead for what tells that a server is off.
func (d *decoder) disabled(entries []entry) bool {
	for _, e := range entries {
		off := e.key == "disabled"
		if !off && e.key != "enabled" && e.key != "isActive" {
			continue
		}
		value, errs := expand(resolved(e.value).Value, &d.opts, false)
		if b, err := strconv.ParseBool(value); err == nil && errs == nil && b == off {
			return true
		}
	}
	return false
}

func (d *decoder) unknown(e entry, path string, fields map[string]int, ignored map[string]string) {
	if reason, ok := ignored[e.key]; ok {
		if reason != "" {
			d.warn(e.line, path, reason)
		}
		return
	}
	if near := nearest(e.key, fields); near != "" {
		d.fail(e.line, path, "is not a known key; did you mean %q?", near)
		return
	}
	names := make([]string, 0, len(fields))
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	d.fail(e.line, path, "is not a known key; known here are: %s", strings.Join(names, ", "))
}

func (d *decoder) dictionary(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	entries, ok := d.entries(n, path)
	if !ok {
		return
	}
	if v.Type() == reflect.TypeFor[map[string]*Server]() && len(entries) > MaxServers {
		d.fail(n.Line, path, tooManyServers, len(entries), MaxServers)
		return
	}
	v.Set(reflect.MakeMap(v.Type()))
	for _, e := range entries {
		child := childPath(path, e.key)
		d.lines[child] = e.line
		if tag.Get("scalar") == "any" && resolved(e.value).Kind == yaml.ScalarNode {
			if resolved(e.value).ShortTag() == "!!null" {
				continue // unset, as some clients have it
			}
			e.value = &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: resolved(e.value).Value, Line: e.line}
		}
		elem := reflect.New(v.Type().Elem()).Elem()
		d.value(e.value, elem, child, tagElement)
		if elem.Kind() == reflect.Pointer && elem.IsNil() {
			elem.Set(reflect.New(elem.Type().Elem()))
			setDefaults(elem.Elem()) // so that what could not be read is not said to be out of bounds as well
		}
		v.SetMapIndex(reflect.ValueOf(e.key), elem)
	}
}

func (d *decoder) list(n *yaml.Node, v reflect.Value, path string) {
	if n.Kind != yaml.SequenceNode {
		d.fail(n.Line, path, "is %s; must be a list, like [a, b]", kindOf(n))
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), len(n.Content), len(n.Content)))
	for i, item := range n.Content {
		child := path + "[" + strconv.Itoa(i) + "]"
		d.lines[child] = item.Line
		d.value(item, v.Index(i), child, tagElement)
	}
}

// scalar decodes text, a number or a boolean. No message shows the value where
// it may be a secret.
func (d *decoder) scalar(n *yaml.Node, v reflect.Value, path string, tag reflect.StructTag) {
	if n.Kind != yaml.ScalarNode {
		d.fail(n.Line, path, "is %s; must be %s", kindOf(n), wanted(v))
		return
	}
	text, isText := n.Value, n.ShortTag() == "!!str" || n.ShortTag() == "!!timestamp"
	if isText && strings.Contains(text, "${") {
		var errs []error
		d.exposes(n.Line, path, text)
		text, errs = expand(text, &d.opts, d.caller)
		if len(errs) > 0 {
			d.unresolved(n.Line, path, errs)
			return
		}
	} else if !accepts(v, n.ShortTag(), isText) {
		if like := tag.Get("like"); like != "" { // in quotes it would be no better
			d.fail(n.Line, path, "is %s; must be %s", kindOf(n), like)
			return
		}
		d.fail(n.Line, path, "is %s; must be %s%s", kindOf(n), wanted(v), quoteHint(v, n))
		return
	}
	if err := setText(v, text); err != nil {
		if most := tag.Get("max"); errors.Is(err, errInt) && most != "" {
			err = fmt.Errorf("%w; write %s at most, in digits", err, most)
		}
		// As written: what a reference yields may be a secret.
		d.fail(n.Line, path, "%q %v", clip(n.Value), err)
	}
}

func (d *decoder) unresolved(line int, path string, errs []error) {
	if d.lenient {
		return
	}
	for _, err := range errs {
		d.fail(line, path, "%v", err)
	}
}

// accepts tells whether a scalar of this tag may become v.
func accepts(v reflect.Value, tag string, isText bool) bool {
	switch v.Interface().(type) {
	case Duration, Size, Concurrency, CPU, Ratio:
		return isText || tag == "!!int" || tag == "!!float"
	}
	switch v.Kind() {
	case reflect.Bool:
		return tag == "!!bool"
	case reflect.Int:
		return tag == "!!int" || tag == "!!float"
	}
	return isText
}

func quoteHint(v reflect.Value, n *yaml.Node) string {
	if _, ok := scalarKinds[n.ShortTag()]; !ok {
		return "; put text that begins with ! in quotes"
	}
	_, isText := reflect.TypeAssert[encoding.TextUnmarshaler](v.Addr())
	if v.Kind() == reflect.String && n.ShortTag() != "!!null" || isText && n.ShortTag() == "!!bool" {
		return "; put it in quotes"
	}
	return ""
}

// wanted says what a scalar field takes.
func wanted(v reflect.Value) string {
	switch v.Interface().(type) {
	case Duration:
		return `a duration, like "30s"`
	case Size:
		return `a size, like "16Mi"`
	case Concurrency:
		return `"serial" or a whole number`
	case CPU:
		return `a number of CPUs, like "0.5"`
	case Ratio:
		return `a share, like "0.01"`
	}
	switch v.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	}
	return "text"
}

// KindOf says what a node is, for messages.
func KindOf(n *yaml.Node) string { return kindOf(n) }

// kindOf says what a node is, for messages.
func kindOf(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "an object"
	case yaml.SequenceNode:
		return "a list"
	}
	if kind, ok := scalarKinds[n.ShortTag()]; ok {
		return kind
	}
	return "a value with a tag (!…)"
}

var scalarKinds = map[string]string{
	"!!null": "null", "!!bool": "true or false", "!!int": "a number", "!!float": "a number",
	"!!str": "text", "!!timestamp": "text",
}

// foreignKeys are the keys of clients that an object of type t may hold.
func foreignKeys(t reflect.Type) map[string]string {
	switch t {
	case reflect.TypeFor[Config]():
		return foreign.Config
	case reflect.TypeFor[Server]():
		return foreign.Server
	}
	return nil
}
