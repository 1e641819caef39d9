package gateway

import (
	"bytes"
	"slices"

	"github.com/toolcrib/toolcrib/mcp"
)

// Between the core tasks of 2025-11-25 and the extension of 2026-07-28 the members of a task differ in two names; what else
// stands there is kept as it is.

// toExtension and toCore are the new names of members, with their quotes.
var (
	toExtension = map[string]string{"ttl": `"ttlMs"`, "pollInterval": `"pollIntervalMs"`}
	toCore      = map[string]string{"ttlMs": `"ttl"`, "pollIntervalMs": `"pollInterval"`}
)

// beside are members that the object of a task may have which are not the task's.
var beside = []string{"resultType", "result", "error", "inputRequests"}

// reshape writes a raw task object with another id, names as rename has them, and without the members of drop.
// status, when not empty, takes the place of the task's own.
func reshape(object, id []byte, status string, rename map[string]string, drop ...string) []byte {
	var e mcp.Edits
	all := mcp.Span{End: int32(len(object))}
	limited := false
	mcp.Members(object, all, func(f mcp.Field) bool {
		name := f.Name(object)
		key := string(name[1 : len(name)-1])
		limited = limited || key == "ttl" || key == "ttlMs"
		switch {
		case key == "taskId":
			e.Replace(f.Span, id)
		case key == "status" && status != "":
			e.Replace(f.Span, []byte(`"`+status+`"`))
		case rename[key] != "":
			e.Replace(mcp.Span{Start: f.Key, End: f.Key + int32(len(name))}, []byte(rename[key]))
		case slices.Contains(drop, key):
			e.Remove(object, f)
		}
		return true
	})
	if !limited && rename != nil { // both eras demand it
		name := `"ttlMs"`
		if rename["ttl"] == "" {
			name = `"ttl"`
		}
		e.Insert(object, all, []byte(name+`:null`))
	}
	return e.Append(make([]byte, 0, len(object)+len(id)+32), object)
}

// with puts a member at the end of a raw object that has some.
func with(object []byte, name string, value []byte) []byte {
	object = bytes.TrimRight(object, " \t\r\n")
	b := append(make([]byte, 0, len(object)+len(name)+len(value)+4), object[:len(object)-1]...)
	b = append(append(append(b, `,"`...), name...), `":`...)
	return append(append(b, value...), '}')
}

// at is the raw value of a member of a raw object; nil when it has none.
func at(object []byte, name string) []byte {
	if len(object) == 0 || object[0] != '{' {
		return nil
	}
	f, err := mcp.Lookup(object, mcp.Span{End: int32(len(object))}, name)
	if err != nil {
		return nil
	}
	return f.Of(object)
}

// textAt is the text of a member of a raw object.
func textAt(object []byte, name string) string {
	raw := at(object, name)
	text, _ := mcp.Text(raw, mcp.Span{End: int32(len(raw))}, nil)
	return string(text)
}

// relate has a raw result say which task it is of (2025-11-25 tasks "Associating Task-Related Messages"); a nil id takes off
// what the result says of it.
func relate(result, id []byte) []byte {
	var e mcp.Edits
	all := mcp.Span{End: int32(len(result))}
	meta, err := mcp.Lookup(result, all, "_meta")
	if err != nil || (meta.Present() && result[meta.Start] != '{') {
		return result
	}
	var related mcp.Field
	if meta.Present() {
		if related, err = mcp.Lookup(result, meta.Span, mcp.MetaRelatedTask.String()); err != nil {
			return result
		}
	}
	value := append(append([]byte(`{"taskId":`), id...), '}')
	member := append([]byte(`"`+mcp.MetaRelatedTask.String()+`":`), value...)
	switch {
	case id == nil:
		e.Remove(result, related)
	case related.Present():
		e.Replace(related.Span, value)
	case meta.Present():
		e.Insert(result, meta.Span, member)
	default:
		e.Insert(result, all, append(append([]byte(`"_meta":{`), member...), '}'))
	}
	return e.Append(make([]byte, 0, len(result)+len(member)+16), result)
}

// relateQuestions has the questions of a map of inputRequests name the task as the client knows it; a nil id takes the
// server's own off.
func relateQuestions(requests, id []byte) []byte {
	if !bytes.Contains(requests, []byte(mcp.MetaRelatedTask.String())) {
		return requests
	}
	var e mcp.Edits
	mcp.Members(requests, mcp.Span{End: int32(len(requests))}, func(q mcp.Field) bool {
		if p, err := mcp.Lookup(requests, q.Span, "params"); err == nil && p.Present() {
			if params := p.Of(requests); at(at(params, "_meta"), mcp.MetaRelatedTask.String()) != nil {
				e.Replace(p.Span, relate(params, id))
			}
		}
		return true
	})
	return e.Append(make([]byte, 0, len(requests)), requests)
}
