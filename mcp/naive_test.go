package mcp_test

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/toolcrib/toolcrib/mcp"
)

// This file is a second, slow reader of messages on jsontext, to hold Scan
// against.

// member is a member of an object as jsontext sees it.
type member struct {
	name  string
	lone  bool // the name has a lone surrogate
	field mcp.Field
}

var naiveOptions = []jsontext.Options{jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)}

// validJSON is the verdict of jsontext on exactly one value in valid UTF-8.
// Invalid UTF-8 is looked for apart, since jsontext counts lone surrogate
// escapes as such.
func validJSON(body []byte) bool {
	if !utf8.Valid(body) {
		return false
	}
	d := jsontext.NewDecoder(bytes.NewReader(body), naiveOptions...)
	if _, err := d.ReadValue(); err != nil {
		return false
	}
	_, err := d.ReadToken()
	return errors.Is(err, io.EOF)
}

// naiveMembers returns the members of the object that body[span] is.
func naiveMembers(body []byte, span mcp.Span) []member {
	d := jsontext.NewDecoder(bytes.NewReader(body[span.Start:span.End]), naiveOptions...)
	if _, err := d.ReadToken(); err != nil {
		panic(err)
	}
	read := func() mcp.Span {
		v, err := d.ReadValue()
		if err != nil {
			panic(err)
		}
		end := span.Start + int32(d.InputOffset())
		return mcp.Span{Start: end - int32(len(v)), End: end}
	}
	var all []member
	for d.PeekKind() != '}' {
		key := read()
		name, err := jsontext.AppendUnquote(nil, key.Of(body))
		all = append(all, member{string(name), err != nil, mcp.Field{Key: key.Start, Span: read()}})
	}
	return all
}

// known says under which names a level has its members.
type known map[string]int

func knownKeys(where uint8) (exact, folded known) {
	exact, folded = known{}, known{}
	for k := mcp.Key(1); k < mcp.NumKeys; k++ {
		exact[k.String()] = int(k)
		if k.Where()&where != 0 {
			folded[k.String()] = int(k)
		}
	}
	return exact, folded
}

func knownMeta() known {
	all := known{}
	for k := mcp.MetaKey(1); k < mcp.NumMeta; k++ {
		all[k.String()] = int(k)
	}
	return all
}

// clean reports whether the keys of an object are neither duplicate nor
// ambiguous.
func clean(all []member, folded known) bool {
	seen := map[string]bool{}
	for _, m := range all {
		if m.lone || seen[m.name] {
			return false
		}
		seen[m.name] = true
		for name := range folded {
			if m.name != name && strings.EqualFold(m.name, name) {
				return false
			}
		}
	}
	return true
}

// naiveScan reads a valid JSON object as Scan should. ok is false where Scan
// should refuse it.
func naiveScan(body []byte) (m mcp.Message, ok bool) {
	start := int32(len(body) - len(bytes.TrimLeft(body, " \t\r\n")))
	end := int32(len(bytes.TrimRight(body, " \t\r\n")))
	top := naiveMembers(body, mcp.Span{Start: start, End: end})
	ok = clean(top, known{"jsonrpc": 1, "id": 1, "method": 1, "params": 1, "result": 1, "error": 1})
	value := map[string]mcp.Span{}
	for _, t := range top {
		value[t.name] = t.field.Span
	}
	version, err := jsontext.AppendUnquote(nil, value["jsonrpc"].Of(body))
	ok = ok && err == nil && string(version) == "2.0"
	if id := value["id"]; id.Present() && !strings.ContainsRune("tf{[n", rune(body[id.Start])) {
		m.ID = id
	} else if id.Present() && body[id.Start] != 'n' {
		ok = false
	}
	payloads := 0
	for name, where := range map[string]uint8{"params": mcp.InParams, "result": mcp.InResult, "error": mcp.InError} {
		if p := value[name]; p.Present() {
			payloads++
			m.Payload = p
			ok = ok && body[p.Start] == '{' && naivePayload(body, &m, where)
		}
	}
	return m, naiveKind(body, &m, value) && ok && payloads <= 1
}

func naivePayload(body []byte, m *mcp.Message, where uint8) bool {
	exact, folded := knownKeys(where)
	all := naiveMembers(body, m.Payload)
	ok := clean(all, folded)
	for _, p := range all {
		k := exact[p.name]
		if k == 0 {
			continue
		}
		m.Fields[k] = p.field
		raw := p.field.Of(body)
		switch p.name {
		case "_meta":
			if where == mcp.InError {
				continue
			}
			ok = ok && raw[0] == '{' && naiveMeta(body, m, p.field.Span)
		case "name", "uri", "taskId":
			if _, err := jsontext.AppendUnquote(nil, raw); err != nil && raw[0] == '"' {
				ok = false
			}
		}
	}
	return ok
}

func naiveMeta(body []byte, m *mcp.Message, span mcp.Span) bool {
	names := knownMeta()
	all := naiveMembers(body, span)
	for _, p := range all {
		if k := names[p.name]; k != 0 {
			m.Meta[k] = p.field
		}
	}
	return clean(all, names)
}

func naiveKind(body []byte, m *mcp.Message, value map[string]mcp.Span) bool {
	switch {
	case value["method"].Present():
		m.Kind, m.MethodText = mcp.KindRequest, value["method"]
		if !value["id"].Present() {
			m.Kind = mcp.KindNotification
		}
		name, err := jsontext.AppendUnquote(nil, m.MethodText.Of(body))
		m.Method = mcp.MethodOf(string(name))
		named := m.Get(m.Method.Facts().NameKey).Of(body)
		return err == nil && !value["result"].Present() && !value["error"].Present() &&
			(m.Kind == mcp.KindNotification || m.ID.Present()) && (named == nil || named[0] == '"')
	case value["result"].Present():
		m.Kind = mcp.KindResult
		return m.ID.Present()
	case value["error"].Present():
		m.Kind = mcp.KindError
		code, ok := mcp.Integer(body, m.Get(mcp.KeyCode))
		m.ErrorCode = code
		text := m.Get(mcp.KeyMessage).Of(body)
		return ok && text != nil && text[0] == '"'
	}
	return false
}
