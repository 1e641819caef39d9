package mcp

import (
	"encoding/binary"
	"math/bits"
	"unicode/utf8"
)

// deepest is the most levels any limit may allow: one bit of a fixed stack each.
const deepest = 1024

// fault is what is wrong with the grammar or the size of a body.
type fault uint8

const (
	faultNone fault = iota
	faultTruncated
	faultValue
	faultKey
	faultColon
	faultComma
	faultNumber
	faultControl
	faultEscape
	faultUTF8
	faultTrailing
	faultBOM
	faultEmpty
	faultDepth
	faultValues
	faultBytes
)

var faultTexts = [...]string{
	faultTruncated: "the body ends in the middle of a value",
	faultValue:     "a JSON value is expected",
	faultKey:       "a quoted key is expected",
	faultColon:     "a colon is expected after the key",
	faultComma:     "a comma or the closing bracket is expected",
	faultNumber:    "the number is malformed",
	faultControl:   "a control character in a string must be escaped",
	faultEscape:    "the escape in a string is malformed",
	faultUTF8:      "the string is not valid UTF-8",
	faultTrailing:  "something follows the message; send one message",
	faultBOM:       "a byte order mark is not allowed; send plain UTF-8",
	faultEmpty:     "the body is empty",
	faultDepth:     "the message is nested too deep",
	faultValues:    "the message has too many values",
	faultBytes:     "the message is too large",
}

// walker reads JSON text forward. Its methods take and return offsets into
// body, -1 after a fault.
type walker struct {
	body     []byte
	depth    int  // levels that may still be opened
	values   int  // values that may still come
	newlines bool // raw CR or LF stood between tokens
	fault    fault
	at       int // offset of the fault
}

func (w *walker) fail(i int, f fault) int {
	if w.fault == faultNone {
		w.fault, w.at = f, i
	}
	return -1
}

// unexpected fails at i: with f, or because the body ends there.
func (w *walker) unexpected(i int, f fault) int {
	if i >= len(w.body) {
		f = faultTruncated
	}
	return w.fail(i, f)
}

// space returns the offset of the first byte at or after i that is not white
// space.
func (w *walker) space(i int) int {
	b := w.body
	for i < len(b) {
		switch b[i] {
		case ' ', '\t':
			i++
			for len(b)-i >= 8 && binary.LittleEndian.Uint64(b[i:]) == ' '*ones {
				i += 8
			}
		case '\n', '\r':
			w.newlines = true
			i++
		default:
			return i
		}
	}
	return i
}

// open steps into the object or array at i: first is the offset of its first
// key or element or, when done, its end.
func (w *walker) open(i int, closing byte) (first int, done bool) {
	if w.depth--; w.depth < 0 {
		return w.fail(i, faultDepth), false
	}
	i = w.space(i + 1)
	if i < len(w.body) && w.body[i] == closing {
		w.depth++
		return i + 1, true
	}
	return i, false
}

// next steps over what follows a member or element that ended at i: after is
// the offset of the following one or, when done, the end of the container.
func (w *walker) next(i int, closing byte) (after int, done bool) {
	if i = w.space(i); i < len(w.body) {
		switch w.body[i] {
		case ',':
			return w.space(i + 1), false
		case closing:
			w.depth++
			return i + 1, true
		}
	}
	return w.unexpected(i, faultComma), false
}

// key checks the key at i and its colon: end is the end of the key, value the
// offset of the value.
func (w *walker) key(i int) (end, value int) {
	if i >= len(w.body) || w.body[i] != '"' {
		return -1, w.unexpected(i, faultKey)
	}
	if end = w.str(i); end < 0 {
		return -1, -1
	}
	i = w.space(end)
	if i >= len(w.body) || w.body[i] != ':' {
		return -1, w.unexpected(i, faultColon)
	}
	return end, w.space(i + 1)
}

// value checks the value at i and returns its end.
func (w *walker) value(i int) int {
	if i < len(w.body) && (w.body[i] == '{' || w.body[i] == '[') {
		return w.container(i)
	}
	if w.values--; w.values < 0 {
		return w.fail(i, faultValues)
	}
	return w.scalar(i)
}

// scalar checks the string, number or literal at i and returns its end.
func (w *walker) scalar(i int) int {
	b := w.body
	if i >= len(b) {
		return w.fail(i, faultTruncated)
	}
	switch c := b[i]; {
	case c == '"':
		return w.str(i)
	case c == '-' || '0' <= c && c <= '9':
		return w.number(i)
	case c == 't' && len(b)-i >= 4 && string(b[i:i+4]) == "true",
		c == 'n' && len(b)-i >= 4 && string(b[i:i+4]) == "null":
		return i + 4
	case c == 'f' && len(b)-i >= 5 && string(b[i:i+5]) == "false":
		return i + 5
	}
	return w.fail(i, faultValue)
}

// container checks the object or array at i and returns its end. It keeps one
// bit a level instead of recursing: set for an object, clear for an array.
func (w *walker) container(i int) int {
	b := w.body
	var stack [deepest / 64]uint64
	level, object := 0, false
value:
	if i >= len(b) {
		return w.fail(i, faultTruncated)
	}
	if w.values--; w.values < 0 {
		return w.fail(i, faultValues)
	}
	if c := b[i]; c == '"' {
		i = w.str(i)
	} else if c != '{' && c != '[' {
		i = w.scalar(i)
	} else {
		if level >= w.depth || level >= deepest {
			return w.fail(i, faultDepth)
		}
		object = c == '{'
		word, bit := level>>6&(len(stack)-1), uint64(1)<<(level&63)
		stack[word] &^= bit
		if object {
			stack[word] |= bit
		}
		level++
		if i++; i < len(b) && b[i] <= ' ' {
			i = w.space(i)
		}
		if i < len(b) && b[i] == c+2 { // '{'+2 is '}', '['+2 is ']'
			goto closed
		}
		if object {
			goto key
		}
		goto value
	}
after:
	if uint(i) >= uint(len(b)) {
		return w.failedOr(i, faultTruncated)
	}
	if b[i] <= ' ' {
		if i = w.space(i); i >= len(b) {
			return w.fail(i, faultTruncated)
		}
	}
	switch c := b[i]; {
	case c == ',':
		if i++; i < len(b) && b[i] <= ' ' {
			i = w.space(i)
		}
		if object {
			goto key
		}
		goto value
	case c == '}' && object, c == ']' && !object:
		goto closed
	}
	return w.fail(i, faultComma)
closed:
	i++
	if level--; level == 0 {
		return i
	}
	object = stack[(level-1)>>6&(len(stack)-1)]>>((level-1)&63)&1 != 0
	goto after
key:
	if i >= len(b) || b[i] != '"' {
		return w.unexpected(i, faultKey)
	}
	if i = w.str(i); i < 0 {
		return -1
	}
	if i < len(b) && b[i] <= ' ' {
		i = w.space(i)
	}
	if i >= len(b) || b[i] != ':' {
		return w.unexpected(i, faultColon)
	}
	if i++; i < len(b) && b[i] <= ' ' {
		i = w.space(i)
	}
	goto value
}

// failedOr is for an offset that is either -1 after a fault or past the end.
func (w *walker) failedOr(i int, f fault) int {
	if i < 0 {
		return -1
	}
	return w.fail(i, f)
}

// number checks the number at i and returns its end.
func (w *walker) number(i int) int {
	b := w.body
	if b[i] == '-' {
		i++
	}
	switch {
	case i >= len(b):
		return w.fail(i, faultTruncated)
	case b[i] == '0':
		i++
	case '1' <= b[i] && b[i] <= '9':
		i = digits(b, i)
	default:
		return w.fail(i, faultNumber)
	}
	if i < len(b) && b[i] == '.' {
		from := i + 1
		if i = digits(b, from); i == from {
			return w.unexpected(i, faultNumber)
		}
	}
	if i < len(b) && b[i]|0x20 == 'e' {
		if i++; i < len(b) && (b[i] == '+' || b[i] == '-') {
			i++
		}
		from := i
		if i = digits(b, from); i == from {
			return w.unexpected(i, faultNumber)
		}
	}
	return i
}

func digits(b []byte, i int) int {
	for i < len(b) && b[i]-'0' <= 9 {
		i++
	}
	return i
}

// str checks the string whose opening quote is at i and returns the offset
// behind its closing quote.
func (w *walker) str(i int) int {
	b := w.body
	i++
	for {
		i = plain(b, i)
		if i >= len(b) {
			return w.fail(i, faultTruncated)
		}
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			n := escapeLen(b[i:])
			if n == 0 {
				return w.fail(i, faultEscape)
			}
			i += n
		case c < ' ':
			return w.fail(i, faultControl)
		default:
			if i = multibyte(b, i); i >= len(b) || b[i] >= utf8.RuneSelf {
				return w.unexpected(i, faultUTF8)
			}
		}
	}
}

// escapeLen is the length of the escape that b begins with, 0 when malformed.
func escapeLen(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	switch b[1] {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return 2
	case 'u':
		if len(b) >= 6 && hex4(b[2:6]) >= 0 {
			return 6
		}
	}
	return 0
}

// hex4 returns the value of four hexadecimal digits, negative when there is
// another character among them.
func hex4(b []byte) int {
	v := 0
	for _, c := range b[:4] {
		switch {
		case '0' <= c && c <= '9':
			v = v<<4 | int(c-'0')
		case 'a' <= c|0x20 && c|0x20 <= 'f':
			v = v<<4 | int(c|0x20-'a'+10)
		default:
			return -1
		}
	}
	return v
}

// multibyte returns the offset of the first byte at or after i that does not
// belong to a well-formed UTF-8 sequence of two bytes or more.
func multibyte(b []byte, i int) int {
	for i < len(b) && b[i] >= utf8.RuneSelf {
		_, n := utf8.DecodeRune(b[i:])
		if n < 2 {
			return i
		}
		i += n
	}
	return i
}

const (
	ones  = 0x0101010101010101
	highs = 0x80 * ones
)

// special marks the high bit of the bytes of a word that a string scan must
// look at: quote, backslash, control, not ASCII. Bytes above the first marked
// one may be marked wrongly (the borrow runs up), so only the first counts.
func special(word uint64) uint64 {
	// x^2 maps the quote to 0x20 and keeps controls below it: one compare.
	return ((word ^ 0x02*ones - 0x21*ones) | (word ^ '\\'*ones - ones) | word) & highs
}

// plain returns the offset of the first special byte at or after i, or
// len(b).
func plain(b []byte, i int) int {
	for len(b)-i >= 32 {
		block := b[i : i+32 : i+32]
		m0 := special(binary.LittleEndian.Uint64(block))
		if m0 != 0 {
			return i + bits.TrailingZeros64(m0)>>3
		}
		m1 := special(binary.LittleEndian.Uint64(block[8:]))
		m2 := special(binary.LittleEndian.Uint64(block[16:]))
		m3 := special(binary.LittleEndian.Uint64(block[24:]))
		if m1|m2|m3 == 0 {
			i += 32
			continue
		}
		switch {
		case m1 != 0:
			return i + 8 + bits.TrailingZeros64(m1)>>3
		case m2 != 0:
			return i + 16 + bits.TrailingZeros64(m2)>>3
		}
		return i + 24 + bits.TrailingZeros64(m3)>>3
	}
	for ; len(b)-i >= 8; i += 8 {
		if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			return i + bits.TrailingZeros64(m)>>3
		}
	}
	for ; i < len(b); i++ {
		if c := b[i]; c < ' ' || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			break
		}
	}
	return i
}
