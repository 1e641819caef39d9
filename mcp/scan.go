package mcp

import (
	"bytes"
	"hash/maphash"
	"slices"
)

// Scan reads body once and fills m with what it found. It is strict: the
// grammar of RFC 8259 in valid UTF-8 within lim, "jsonrpc" "2.0", an id that is
// a string or a number, params, result, error and _meta that are objects.
//
// At the top, in params, result or error and in _meta, duplicate keys are
// refused, and so are keys that differ from a known one in case only (Unicode
// simple folding included): another reader might take them for the known one.
// Keys and method names with escapes are compared decoded. Lone surrogate
// escapes pass in values, but not in those keys, method, name, uri and taskId.
//
// m.ID is set when an id was found, also when the message is refused. Of a
// batch only Kind is set and nothing is checked: see [Split].
func Scan(body []byte, m *Message, lim Limits) *Error {
	*m = Message{}
	lim = lim.or()
	s := scanner{m: m}
	if i := s.begin(body, lim); i >= 0 {
		switch body[i] {
		case '[':
			m.Kind = KindBatch
			return nil
		case '{':
			s.values--
			s.end(s.object(i, levelTop))
		default:
			if s.end(s.value(i)) >= 0 {
				s.refuse(CodeInvalidRequest, "the message must be a JSON object", Span{})
			}
		}
	}
	m.Newlines = s.newlines
	if e := s.problem(lim); e != nil {
		return e
	}
	s.classify()
	return s.refused
}

// level is an object whose members Scan knows.
type level uint8

const (
	levelTop level = iota
	levelPayload
	levelMeta
)

// scanner is a walker that knows the members of a message.
type scanner struct {
	walker
	m       *Message
	refused *Error // first fault of meaning; reading goes on, for the id
	top     [numTop]Span
	where   uint8 // what the payload is: inParams, inResult or inError
	scratch []byte
}

func (s *scanner) refuse(code int64, text string, what Span) {
	if s.refused != nil {
		return
	}
	if b := what.Of(s.body); b != nil {
		text += ": " + clip(string(b))
	}
	s.refused = &Error{Code: code, Message: text}
}

// clip keeps what is quoted in messages short.
func clip(text string) string {
	const most = 120
	if len(text) <= most {
		return text
	}
	return text[:most] + "…"
}

// object reads the object at i, whose members are those of lv, and returns its
// end.
func (s *scanner) object(i int, lv level) int {
	start, body := i, s.body
	var seen keySet
	i, done := s.open(i, '}')
	for i >= 0 && !done {
		s.escaped = false
		end, val := s.key(i)
		if val < 0 {
			return -1
		}
		key := Span{int32(i), int32(end)}
		name := body[i+1 : end-1]
		if s.escaped {
			name = s.keyText(key)
		}
		after := s.member(lv, s.identify(name, key, lv, &seen), key, val)
		if after < 0 {
			return -1
		}
		i, done = s.next(after, '}')
	}
	if i >= 0 && seen.n > len(seen.hashes) {
		s.findDuplicates(Span{int32(start), int32(i)}, seen.n)
	}
	return i
}

// identify returns the number of the key in the names of lv, 0 for one that
// nothing reads.
func (s *scanner) identify(name []byte, key Span, lv level, seen *keySet) uint8 {
	table := keyTable
	switch lv {
	case levelTop:
		table = topTable
	case levelMeta:
		table = metaTable
	}
	k, exact := table.find(name)
	if exact {
		return k
	}
	if k != 0 && (lv != levelPayload || keyFacts[k].where&s.where != 0) {
		s.refuse(CodeInvalidRequest, "key differs only in case from "+table.list[k]+", which is ambiguous", key)
	}
	if seen.add(name) {
		s.refuse(CodeInvalidRequest, "duplicate key", key)
	}
	return 0
}

// keyText returns the decoded text of a key.
func (s *scanner) keyText(key Span) []byte {
	raw := s.body[key.Start+1 : key.End-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw
	}
	text, ok := unescape(s.scratch[:0], raw)
	if !ok {
		s.refuse(CodeInvalidRequest, "key has a lone surrogate", key)
	}
	s.scratch = text
	return text
}

// member reads the value at i of the member k of lv and returns its end.
func (s *scanner) member(lv level, k uint8, key Span, i int) int {
	if k == 0 {
		return s.value(i)
	}
	switch lv {
	case levelTop:
		return s.topMember(k, key, i)
	case levelPayload:
		return s.payloadMember(Key(k), key, i)
	}
	end := s.value(i)
	s.record(&s.m.Meta[k], key, i, end)
	return end
}

// record notes a member, or refuses it when it is the second of its name.
func (s *scanner) record(f *Field, key Span, start, end int) {
	if f.Present() {
		s.refuse(CodeInvalidRequest, "duplicate key", key)
		return
	}
	if end > 0 {
		*f = Field{Key: key.Start, Span: Span{int32(start), int32(end)}}
	}
}

func (s *scanner) topMember(k uint8, key Span, i int) int {
	again := s.top[k].Present()
	if again {
		s.refuse(CodeInvalidRequest, "duplicate key", key)
	}
	var end int
	switch k {
	case topParams, topResult, topError:
		end = s.payload(k, key, i)
	default:
		end = s.value(i)
	}
	if end < 0 {
		return -1
	}
	s.top[k] = Span{int32(i), int32(end)}
	if k == topID {
		s.id(again)
	}
	return end
}

// id notes the id, unless there are two.
func (s *scanner) id(again bool) {
	id := s.top[topID]
	switch c := s.body[id.Start]; {
	case again:
		s.m.ID = Span{}
	case c == '"' || c == '-' || '0' <= c && c <= '9':
		s.m.ID = id
	case c != 'n':
		s.refuse(CodeInvalidRequest, "id must be a string or a number", Span{})
	}
}

// payload reads params, result or error at i.
func (s *scanner) payload(k uint8, key Span, i int) int {
	if s.m.Payload.Present() {
		s.refuse(CodeInvalidRequest, "a message has only one of params, result and error; another is", key)
		return s.value(i)
	}
	if i >= len(s.body) || s.body[i] != '{' {
		s.refuse(CodeInvalidRequest, topNames[k]+" must be an object", Span{})
		return s.value(i)
	}
	s.where = [...]uint8{topParams: inParams, topResult: inResult, topError: inError}[k]
	end := s.object1(i, levelPayload)
	if end > 0 {
		s.m.Payload = Span{int32(i), int32(end)}
	}
	return end
}

// object1 is object, counted as a value.
func (s *scanner) object1(i int, lv level) int {
	if s.values--; s.values < 0 {
		return s.fail(i, faultValues)
	}
	return s.object(i, lv)
}

func (s *scanner) payloadMember(k Key, key Span, i int) int {
	f := &s.m.Fields[k]
	var end int
	if k == KeyMeta && s.where != inError && !f.Present() {
		end = s.meta(i)
	} else {
		end = s.value(i)
	}
	s.record(f, key, i, end)
	if end > 0 && (k == KeyName || k == KeyURI || k == KeyTaskID) {
		s.identifier(Span{int32(i), int32(end)}, key)
	}
	return end
}

func (s *scanner) meta(i int) int {
	if i < len(s.body) && s.body[i] == '{' {
		return s.object1(i, levelMeta)
	}
	s.refuse(s.wrong(), "_meta must be an object", Span{})
	return s.value(i)
}

// wrong is the code for a member of the payload that has the wrong form.
func (s *scanner) wrong() int64 {
	if s.where == inParams {
		return CodeInvalidParams
	}
	return CodeInvalidRequest
}

// identifier refuses lone surrogates in a name that decisions compare.
func (s *scanner) identifier(value, key Span) {
	if raw := value.Of(s.body); raw[0] == '"' && bytes.IndexByte(raw, '\\') >= 0 {
		text, ok := unescape(s.scratch[:0], raw[1:len(raw)-1])
		if s.scratch = text; !ok {
			s.refuse(s.wrong(), "lone surrogate in the value of", key)
		}
	}
}

// classify checks the members of a message that is read and says what it is.
func (s *scanner) classify() {
	version := s.top[topJSONRPC].Of(s.body)
	if text, ok := Text(version, Span{0, int32(len(version))}, nil); !ok || string(text) != "2.0" {
		s.refuse(CodeInvalidRequest, `jsonrpc must be "2.0"`, Span{})
	}
	switch {
	case s.top[topMethod].Present():
		s.request()
	case s.top[topResult].Present():
		s.m.Kind = KindResult
		if !s.m.ID.Present() {
			s.refuse(CodeInvalidRequest, "a result needs the id of its request", Span{})
		}
	case s.top[topError].Present():
		s.failure()
	default:
		s.refuse(CodeInvalidRequest, "the message has neither method, result nor error", Span{})
	}
	if s.refused != nil {
		s.m.Kind = KindInvalid
	}
}

func (s *scanner) request() {
	m := s.m
	m.Kind, m.MethodText = KindRequest, s.top[topMethod]
	if !s.top[topID].Present() {
		m.Kind = KindNotification
	} else if !m.ID.Present() {
		s.refuse(CodeInvalidRequest, "the id of a request must be a string or a number", Span{})
	}
	if s.where == inResult || s.where == inError {
		s.refuse(CodeInvalidRequest, "a message with a method has params, not result or error", Span{})
	}
	name, ok := Text(s.body, m.MethodText, s.scratch)
	if !ok {
		s.refuse(CodeInvalidRequest, "method must be a string without lone surrogates", Span{})
	}
	m.Method = methodOf(name)
	if k := m.Method.Facts().NameKey; k != KeyNone {
		if v := m.Get(k).Of(s.body); v != nil && v[0] != '"' {
			s.refuse(CodeInvalidParams, "params."+k.String()+" must be a string", Span{})
		}
	}
}

func (s *scanner) failure() {
	s.m.Kind = KindError
	code, ok := Integer(s.body, s.m.Get(KeyCode))
	if !ok {
		s.refuse(CodeInvalidRequest, "error.code must be an integer", Span{})
	}
	s.m.ErrorCode = code
	if text := s.m.Get(KeyMessage).Of(s.body); text == nil || text[0] != '"' {
		s.refuse(CodeInvalidRequest, "error.message must be a string", Span{})
	}
}

// keySet notes the keys of one object that no table knows, by seeded hashes.
type keySet struct {
	n      int
	hashes [8]uint64
}

var hashSeed = maphash.MakeSeed()

// add notes a key and reports whether it was there. Keys beyond the capacity
// are counted only: see findDuplicates.
func (k *keySet) add(name []byte) bool {
	h := maphash.Bytes(hashSeed, name)
	known := k.hashes[:min(k.n, len(k.hashes))]
	if slices.Contains(known, h) {
		return true
	}
	if k.n < len(k.hashes) {
		k.hashes[k.n] = h
	}
	k.n++
	return false
}

// findDuplicates looks at the keys of an object with more unknown ones than a
// keySet holds: one allocation of known size, sorted.
func (s *scanner) findDuplicates(object Span, n int) {
	if s.refused != nil {
		return
	}
	hashes := make([]uint64, 0, n+int(numKeys))
	for m := membersOf(s.body, object); m.next(); {
		name := s.body[m.field.Key+1 : m.keyEnd-1]
		if m.w.escaped {
			name = s.keyText(Span{m.field.Key, int32(m.keyEnd)})
		}
		hashes = append(hashes, maphash.Bytes(hashSeed, name))
	}
	slices.Sort(hashes)
	for i := 1; i < len(hashes); i++ {
		if hashes[i] == hashes[i-1] {
			s.refuse(CodeInvalidRequest, "duplicate key in an object with many", Span{})
			return
		}
	}
}
