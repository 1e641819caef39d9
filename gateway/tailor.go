package gateway

import (
	"slices"
	"strings"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
)

// A toolset may show a tool under another name, with another description, and without some of its arguments. All else of its
// definition and of its calls passes as it came.

// treatment is what happens to an argument.
type treatment uint8

const (
	passes  treatment = iota
	fixed             // it has a value that clients do not choose
	hidden            // it is refused
	blurred           // it differs from one of those in case only, which some servers do not tell apart
)

// treat tells what a tool's entry in a toolset says of an argument.
func treat(t *plan.ToolsetTool, name string) (treatment, string) {
	like := ""
	for _, f := range t.Fixed {
		if f == name {
			return fixed, ""
		}
		if strings.EqualFold(f, name) {
			like = f
		}
	}
	for _, h := range t.Hidden {
		if h == name {
			return hidden, ""
		}
		if strings.EqualFold(h, name) {
			like = h
		}
	}
	if like != "" {
		return blurred, like
	}
	return passes, ""
}

// keyText is the decoded name of a member; ok is false for one that is no proper text.
func keyText(body []byte, f mcp.Field) (name string, ok bool) {
	raw := f.Name(body)
	text, ok := mcp.Text(raw, mcp.Span{End: int32(len(raw))}, nil)
	return string(text), ok
}

// tailorArguments puts the fixed arguments of a tool into a call, in the place of what the client sent, and refuses the hidden
// ones. Servers do not agree on which of two members with one name counts, so all of them go.
func (x *Exchange) tailorArguments(t *plan.ToolsetTool) error {
	if x.tailored || !t.Shapes() {
		return nil
	}
	var e mcp.Edits
	if err := editArguments(&e, &x.In, t); err != nil {
		return err
	}
	x.tailored = true
	if e.Empty() {
		return nil
	}
	buf := mcp.GetBuffer(e.Len(x.In.Body))
	buf.B = e.Append(buf.B[:0], x.In.Body)
	x.In.Own(buf)
	if err := x.In.Scan(wide(x.In.Body)); err != nil {
		return errs.E("gateway", errs.Internal, "call with fixed arguments is not valid: %w", err)
	}
	return nil
}

// editArguments makes the edits of tailorArguments.
func editArguments(e *mcp.Edits, in *mcp.Raw, t *plan.ToolsetTool) error {
	args := in.Get(mcp.KeyArguments)
	raw := args.Of(in.Body)
	switch {
	case !args.Present():
		if len(t.Members) > 0 {
			e.Insert(in.Body, in.Payload, slices.Concat([]byte(`"arguments":{`), t.Members, []byte{'}'}))
		}
		return nil
	case string(raw) == "null":
		if len(t.Members) > 0 {
			e.Replace(args, slices.Concat([]byte{'{'}, t.Members, []byte{'}'}))
		}
		return nil
	case raw[0] != '{':
		return errs.E("gateway", errs.Invalid, "params.arguments is %.40s; it must be an object", raw)
	}
	var refused error
	mcp.Members(in.Body, args, func(f mcp.Field) bool {
		name, ok := keyText(in.Body, f)
		if !ok {
			return true // it is the name of no argument
		}
		switch how, like := treat(t, name); how {
		case fixed:
			e.Remove(in.Body, f)
		case hidden:
			refused = errs.E("gateway", errs.Invalid, "argument %.128q is not one of this tool; leave it out", name)
		case blurred:
			refused = errs.E("gateway", errs.Invalid, "argument %.128q differs only in case from %.128q, which clients do not set here; leave it out", name, like)
		}
		return refused == nil
	})
	e.Insert(in.Body, args, t.Members)
	return refused
}

// tailorHeaders sees to the headers that mirror arguments which a toolset fixes or hides: the client knows of none of them.
// shown are the others, by which the client's headers are checked.
func tailorHeaders(x *Exchange, all []mcp.Param) (shown []mcp.Param, err error) {
	for _, p := range all {
		switch how, _ := treat(x.tailor, p.Path[0]); {
		case how == passes:
			shown = append(shown, p)
		case how != fixed && x.Header.Get(mcp.HeaderParamPrefix+p.Header) != "":
			return nil, errs.E("gateway", errs.Invalid, "header %s%s mirrors an argument that is not one of this tool; leave it out", mcp.HeaderParamPrefix, p.Header)
		}
	}
	return shown, nil
}

// tailorTool edits the definition of a tool: its title, its description, and its input schema without the arguments that clients
// do not set. left names an argument that the schema may still speak of.
func tailorTool(e *mcp.Edits, raw []byte, t *plan.ToolsetTool) (left string) {
	whole := mcp.Span{End: int32(len(raw))}
	for _, text := range [...]struct{ key, value string }{{"title", t.Spec.Title}, {"description", t.Spec.Description}} {
		if text.value != "" {
			setText(e, raw, whole, text.key, text.value)
		}
	}
	if !t.Shapes() {
		return ""
	}
	mcp.Members(raw, whole, func(f mcp.Field) bool {
		if name, _ := keyText(raw, f); name == "inputSchema" {
			if l := hideIn(e, raw, f.Span, t, 0); l != "" {
				left = l
			}
		}
		return true
	})
	return left
}

// setText makes a text a member of an object, in the place of what it is there, else in front.
func setText(e *mcp.Edits, raw []byte, object mcp.Span, key, value string) {
	found := false
	mcp.Members(raw, object, func(f mcp.Field) bool {
		if name, _ := keyText(raw, f); name == key {
			if found {
				e.Remove(raw, f)
			} else {
				e.Replace(f.Span, mcp.AppendString(nil, value))
			}
			found = true
		}
		return true
	})
	if !found {
		member := append(mcp.AppendString(nil, key), ':')
		e.Insert(raw, object, mcp.AppendString(member, value))
	}
}

// allOfDepth bounds how deep schemas within allOf are looked into.
const allOfDepth = 8

// hideIn takes arguments out of an input schema, and out of those that hold together with it (JSON Schema 2020-12 core 10.2.1.1
// allOf). What other keywords say of them stays, and is returned: they may hold or not, so that nothing can be taken out of them
// without changing what they mean.
func hideIn(e *mcp.Edits, raw []byte, schema mcp.Span, t *plan.ToolsetTool, depth int) (left string) {
	mcp.Members(raw, schema, func(f mcp.Field) bool {
		switch name, _ := keyText(raw, f); name {
		case "properties":
			removeMembers(e, raw, f.Span, t)
		case "required":
			removeRequired(e, raw, f, t)
		case "allOf":
			mcp.Elements(raw, f.Span, func(s mcp.Span) bool {
				if depth < allOfDepth {
					if l := hideIn(e, raw, s, t, depth+1); l != "" {
						left = l
					}
				}
				return true
			})
		case "anyOf", "oneOf", "not", "if", "then", "else", "$defs", "definitions", "dependentSchemas", "dependentRequired", "dependencies":
			if l := spoken(raw, f.Span, t); l != "" {
				left = l
			}
		}
		return true
	})
	return left
}

func concealed(t *plan.ToolsetTool, name string) bool {
	how, _ := treat(t, name)
	return how == fixed || how == hidden
}

func removeMembers(e *mcp.Edits, raw []byte, object mcp.Span, t *plan.ToolsetTool) {
	mcp.Members(raw, object, func(f mcp.Field) bool {
		if name, ok := keyText(raw, f); ok && concealed(t, name) {
			e.Remove(raw, f)
		}
		return true
	})
}

// removeRequired takes names out of required, which goes with the last of them: an empty list is none of older drafts.
func removeRequired(e *mcp.Edits, raw []byte, required mcp.Field, t *plan.ToolsetTool) {
	var gone []mcp.Field
	others := false
	mcp.Elements(raw, required.Span, func(s mcp.Span) bool {
		if text, ok := mcp.Text(raw, s, nil); ok && concealed(t, string(text)) {
			gone = append(gone, mcp.Field{Key: s.Start, Span: s})
		} else {
			others = true
		}
		return true
	})
	switch {
	case others:
		e.Remove(raw, gone...)
	case len(gone) > 0:
		e.Remove(raw, required)
	}
}

// spoken is a concealed argument that a keyword of a schema speaks of, as a key or a text anywhere in it; empty for none.
func spoken(raw []byte, value mcp.Span, t *plan.ToolsetTool) (name string) {
	visit := func(s mcp.Span) bool {
		switch raw[s.Start] {
		case '{', '[':
			name = spoken(raw, s, t)
		case '"':
			if text, ok := mcp.Text(raw, s, nil); ok && concealed(t, string(text)) {
				name = string(text)
			}
		}
		return name == ""
	}
	mcp.Elements(raw, value, visit)
	mcp.Members(raw, value, func(f mcp.Field) bool {
		if key, ok := keyText(raw, f); ok && concealed(t, key) {
			name = key
		}
		return name == "" && visit(f.Span)
	})
	return name
}
