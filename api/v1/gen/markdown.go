package main

import (
	_ "embed"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

//go:embed intro.md
var intro string

const header = "<!-- Generated from the types of api/v1 with `go generate ./api/v1`. Do not edit. -->\n\n"

// markdown returns the reference of a configuration file.
func (m *model) markdown() []byte {
	var b strings.Builder
	b.WriteString(header + intro + "\n## Keys\n")
	for _, o := range m.objects {
		o.section(&b)
	}
	m.overrides(&b)
	m.foreignKeys(&b)
	return []byte(b.String())
}

func (o object) section(b *strings.Builder) {
	title := "Top level"
	if o.path != "" {
		title = "`" + o.path + "`"
	}
	fmt.Fprintf(b, "\n### %s\n\n%s\n\n| key | value | default | meaning |\n|---|---|---|---|\n", title, cell(o.sentence()))
	for _, f := range o.fields {
		value := ""
		if text := f.tag.Get("default"); text != "" {
			value = "`" + text + "`"
		}
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", f.name, cell(f.kind()), value, cell(f.meaning()))
	}
}

// sentence turns "Server is one MCP server" into "One MCP server".
func (o object) sentence() string {
	for _, verb := range []string{" is ", " "} {
		if rest, ok := strings.CutPrefix(o.doc, o.name+verb); ok {
			return strings.ToUpper(rest[:1]) + rest[1:]
		}
	}
	return o.doc
}

func (f field) meaning() string {
	doc := f.doc
	if rest, ok := strings.CutPrefix(doc, f.name+" "); ok {
		doc = "`" + f.name + "` " + rest
		for _, verb := range []string{"is ", "are "} {
			if noun, ok := strings.CutPrefix(rest, verb); ok {
				doc = strings.ToUpper(noun[:1]) + noun[1:]
			}
		}
	}
	if example := f.tag.Get("example"); example != "" {
		doc += " Example: `" + example + "`."
	}
	return doc
}

func (f field) kind() string {
	if enum := f.tag.Get("enum"); enum != "" {
		return "`" + strings.ReplaceAll(enum, ",", "`, `") + "`"
	}
	return kind(f.typ) + f.bounds()
}

// bounds are the least and the greatest value that a key may have, as words.
func (f field) bounds() string {
	least, most := f.tag.Get("min"), f.tag.Get("max")
	switch {
	case least != "" && most != "":
		return ", " + least + " to " + most
	case most != "":
		return ", at most " + most
	case least != "" && least != "0":
		return ", at least " + least
	}
	return ""
}

func kind(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[v1.Duration]():
		return "duration"
	case reflect.TypeFor[v1.Size]():
		return "size"
	case reflect.TypeFor[v1.Concurrency]():
		return "`serial` or whole number"
	case reflect.TypeFor[v1.CPU]():
		return "number of CPUs"
	case reflect.TypeFor[v1.Ratio]():
		return "share"
	case reflect.TypeFor[v1.Secret]():
		return "secret text"
	case reflect.TypeFor[v1.Instance]():
		return "URL or object"
	case reflect.TypeFor[v1.Dimensions]():
		return "text or list of text"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return kind(t.Elem())
	case reflect.Slice:
		return "list of " + kind(t.Elem())
	case reflect.Map:
		return "map of " + kind(t.Elem())
	case reflect.Struct:
		return "object"
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "whole number"
	}
	return "text"
}

func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

func (m *model) overrides(b *strings.Builder) {
	b.WriteString("\n## Environment variables\n\nThese stand over the file. An empty variable counts as unset.\n\n| variable | key |\n|---|---|\n")
	for _, o := range m.objects {
		for _, f := range o.fields {
			if env := f.tag.Get("env"); env != "" {
				path := strings.TrimPrefix(o.path+"."+f.name, ".")
				fmt.Fprintf(b, "| `%s` | `%s` |\n", strings.ReplaceAll(env, ",", "`, else `"), path)
			}
		}
	}
}

func (m *model) foreignKeys(b *strings.Builder) {
	b.WriteString("\n## Keys of MCP clients\n\nFiles of MCP clients work unchanged. Keys that mean the same under another name are understood; " +
		"keys that concern only a client are accepted, and those with a reason below are named in a warning.\n\n| key | what becomes of it |\n|---|---|\n")
	for _, o := range m.objects {
		prefix := strings.TrimPrefix(o.path+".", ".")
		for _, f := range o.fields {
			for _, alias := range f.aliases() {
				fmt.Fprintf(b, "| `%s%s` | the same as `%s` |\n", prefix, alias, f.name)
			}
		}
		for _, key := range slices.Sorted(maps.Keys(o.foreign)) {
			fmt.Fprintf(b, "| `%s%s` | %s |\n", prefix, key, foreignMeaning(key, o.foreign[key]))
		}
	}
}

func foreignMeaning(key, reason string) string {
	switch {
	case key == "enabled" || key == "isActive":
		return "`false` means `disabled: true`"
	case reason == "":
		return "for editors; no effect"
	}
	return reason
}
