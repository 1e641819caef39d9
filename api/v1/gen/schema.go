package main

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strconv"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// node is a JSON Schema; its keys come out sorted.
type node = map[string]any

const schemaURL = "https://json-schema.org/draft/2020-12/schema"

// schema returns the JSON Schema (draft 2020-12) of a configuration file.
func (m *model) schema() ([]byte, error) {
	defs := node{
		"reference": node{
			"type": "string", "pattern": `\$\{`,
			"description": "A value with a reference, like ${NAME} or ${file:/path}, which is resolved when the file is read.",
		},
		"duration": node{
			"description": `A length of time: "5s", "1m30s", "1d".`,
			"anyOf": []any{
				node{"type": "string", "pattern": `^([0-9]+d)?([0-9]+(\.[0-9]*)?(ns|us|µs|ms|s|m|h))*$`, "minLength": 1},
				node{"const": 0},
				ref("reference"),
			},
		},
		"concurrency": node{
			"description": `A number of requests at once, or "serial", which is 1.`,
			"anyOf":       []any{node{"const": "serial"}, node{"type": "integer", "minimum": 1}, ref("reference")},
		},
		"cpu": node{
			"description": `A number of CPUs: "0.5", 2, "500m".`,
			"anyOf": []any{
				node{"type": "string", "pattern": `^[0-9]*\.?[0-9]+m?$`},
				node{"type": "number", "minimum": 0},
				ref("reference"),
			},
		},
		"ratio": node{
			"description": `A share of all: 0.01, "1%".`,
			"anyOf": []any{
				node{"type": "string", "pattern": `^[0-9]*\.?[0-9]+%?$`},
				node{"type": "number", "minimum": 0, "maximum": 1},
				ref("reference"),
			},
		},
		"size": node{
			"description": `A number of bytes: "16Mi", "64k", 1048576.`,
			"anyOf": []any{
				node{"type": "string", "pattern": `^[0-9]+([kKMG]|[KMG]i)?B?$`},
				node{"type": "integer", "minimum": 0},
				ref("reference"),
			},
		},
	}
	for _, o := range m.objects[1:] {
		defs[o.name] = o.schema()
	}
	root := m.objects[0].schema()
	root["$schema"] = schemaURL
	root["title"] = "Toolcrib configuration"
	root["$defs"] = defs
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	err := enc.Encode(root)
	return out.Bytes(), err
}

func ref(name string) node { return node{"$ref": "#/$defs/" + name} }

func (o object) schema() node {
	properties := node{}
	for name, reason := range o.foreign {
		properties[name] = node{"description": strings.TrimSpace("Accepted and without effect. " + reason)}
	}
	for _, f := range o.fields {
		properties[f.name] = f.schema()
		for _, alias := range f.aliases() {
			s := f.schema()
			s["description"] = "The same as " + f.name + "."
			properties[alias] = s
		}
	}
	s := node{"type": []string{"object", "null"}, "description": o.doc, "properties": properties, "additionalProperties": false}
	switch o.name {
	case "Server":
		s["type"] = "object"
		s["anyOf"] = serverForms(o)
	case "APIKey":
		s["type"] = "object"
		s["required"] = []string{"name", "key"}
	}
	return s
}

// serverForms requires a command, a package or an URL, in any spelling, or that the server
// is off.
func serverForms(o object) []any {
	forms := []any{
		node{"required": []string{"command"}}, node{"required": []string{"package"}}, node{"required": []string{"urls"}},
	}
	for _, f := range o.fields {
		if f.name == "url" {
			for _, key := range append([]string{f.name}, f.aliases()...) {
				forms = append(forms, node{"required": []string{key}})
			}
		}
	}
	return append(forms,
		node{"required": []string{"disabled"}, "properties": node{"disabled": node{"const": true}}},
		node{"required": []string{"enabled"}, "properties": node{"enabled": node{"const": false}}},
		node{"required": []string{"isActive"}, "properties": node{"isActive": node{"const": false}}})
}

// typeSpellings are what Server.Type is parsed from; case does not matter.
var typeSpellings = []any{
	"stdio", "http", "sse", "streamable-http", "streamable_http", "streamableHttp", "streamableHTTP", "streamablehttp",
}

func (f field) schema() node {
	s := typeSchema(f.typ, f.tag)
	s["description"] = f.doc
	if text := f.tag.Get("default"); text != "" {
		s["default"] = literal(f.typ, text)
	}
	if text := f.tag.Get("example"); text != "" {
		if f.typ.Kind() == reflect.Slice {
			s["examples"] = []any{[]any{text}}
		} else {
			s["examples"] = []any{text}
		}
	}
	return s
}

// typeSchema returns the schema of a field's values. A key without a value
// (null) counts as left out, but not inside lists and maps.
func typeSchema(t reflect.Type, tag reflect.StructTag) node {
	if t == reflect.TypeFor[v1.Dimensions]() {
		return node{"type": []string{"string", "array", "null"}, "items": valueSchema(t.Elem(), "")}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem(), tag)
	case reflect.Slice:
		return node{"type": []string{"array", "null"}, "items": valueSchema(t.Elem(), "")}
	case reflect.Map:
		elem := valueSchema(t.Elem(), "")
		if tag.Get("scalar") == "any" {
			elem = node{"type": []string{"string", "number", "boolean", "null"}}
		}
		s := node{"type": []string{"object", "null"}, "additionalProperties": elem}
		if e, _ := element(t); e == reflect.TypeFor[v1.Server]() {
			s["maxProperties"] = v1.MaxServers
			s["propertyNames"] = node{"pattern": "^[^/]{1,64}$"}
		}
		return s
	case reflect.Struct:
		return valueSchema(t, tag)
	}
	value := valueSchema(t, tag)
	if alternatives, ok := value["anyOf"].([]any); ok {
		return node{"anyOf": append(alternatives, node{"type": "null"})}
	}
	if value["type"] == "string" {
		return node{"type": []string{"string", "null"}}
	}
	return node{"anyOf": []any{value, node{"type": "null"}}}
}

// valueSchema returns the schema of a value that is there.
func valueSchema(t reflect.Type, tag reflect.StructTag) node {
	switch t {
	case reflect.TypeFor[v1.Duration]():
		return ref("duration")
	case reflect.TypeFor[v1.Size]():
		return ref("size")
	case reflect.TypeFor[v1.Concurrency]():
		return ref("concurrency")
	case reflect.TypeFor[v1.CPU]():
		return ref("cpu")
	case reflect.TypeFor[v1.Ratio]():
		return ref("ratio")
	case reflect.TypeFor[v1.Literal]():
		return node{}
	case reflect.TypeFor[v1.Instance]():
		return node{"anyOf": []any{node{"type": "string"}, ref(t.Name())}}
	}
	switch t.Kind() {
	case reflect.Pointer:
		return valueSchema(t.Elem(), tag)
	case reflect.Struct:
		return ref(t.Name())
	case reflect.Bool:
		return node{"anyOf": []any{node{"type": "boolean"}, ref("reference")}}
	case reflect.Int:
		n := node{"type": "integer"}
		for from, to := range map[string]string{"min": "minimum", "max": "maximum"} {
			if text := tag.Get(from); text != "" {
				n[to] = literal(t, text)
			}
		}
		return node{"anyOf": []any{n, ref("reference")}}
	}
	return textSchema(tag)
}

func textSchema(tag reflect.StructTag) node {
	switch enum, pattern := tag.Get("enum"), tag.Get("pattern"); {
	case strings.Contains(tag.Get("alias"), "transport"):
		return node{"anyOf": []any{node{"enum": typeSpellings}, ref("reference")}}
	case enum != "":
		values := []any{}
		for value := range strings.SplitSeq(enum, ",") {
			values = append(values, value)
		}
		return node{"anyOf": []any{node{"enum": values}, ref("reference")}}
	case pattern != "":
		return node{"anyOf": []any{node{"type": "string", "pattern": pattern}, ref("reference")}}
	}
	return node{"type": "string"}
}

// literal returns the JSON value of a tag's text.
func literal(t reflect.Type, text string) any {
	switch t.Kind() {
	case reflect.Bool:
		return text == "true"
	case reflect.Int:
		if n, err := strconv.Atoi(text); err == nil {
			return n
		}
	case reflect.Slice:
		return strings.Split(text, ",")
	}
	return text
}
