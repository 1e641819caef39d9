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
	escaped  bool // a string had an escape since this was last cleared
	fault    fault
	at       int // offset of the fault
	// One bit for each open level of container: set for an object.
	objects [deepest / 64]uint64
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
		switch c := b[i]; {
		case c > ' ':
			return i
		case c == '\n' || c == '\r':
			w.newlines = true
		case c != ' ' && c != '\t':
			return i
		}
		i++
		for len(b)-i >= 8 { // indentation
			x := binary.LittleEndian.Uint64(b[i:]) ^ ' '*ones
			i += bits.TrailingZeros64(x) >> 3
			if x != 0 {
				break
			}
		}
	}
	return i
}

// token returns the offset of the first byte at or after i that is not white
// space; most often that is i.
func (w *walker) token(i int) int {
	if uint(i) < uint(len(w.body)) && w.body[i] <= ' ' {
		return w.space(i)
	}
	return i
}

// open steps into the object or array at i: first is the offset of its first
// key or element or, when done, its end.
func (w *walker) open(i int, closing byte) (first int, done bool) {
	if w.depth--; w.depth < 0 {
		return w.fail(i, faultDepth), false
	}
	i = w.token(i + 1)
	if i < len(w.body) && w.body[i] == closing {
		w.depth++
		return i + 1, true
	}
	return i, false
}

// next steps over what follows a member or element that ended at i: after is
// the offset of the following one or, when done, the end of the container.
func (w *walker) next(i int, closing byte) (after int, done bool) {
	i = w.token(i)
	if uint(i) < uint(len(w.body)) {
		switch w.body[i] {
		case ',':
			return w.token(i + 1), false
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
	i = w.token(end)
	if i >= len(w.body) || w.body[i] != ':' {
		return -1, w.unexpected(i, faultColon)
	}
	return end, w.token(i + 1)
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
	if i >= len(w.body) {
		return w.fail(i, faultTruncated)
	}
	switch c := w.body[i]; {
	case c == '"':
		return w.str(i)
	case c-'0' <= 9 || c == '-':
		return w.number(i)
	}
	return w.literal(i)
}

// literal checks the true, false or null at i and returns its end.
func (w *walker) literal(i int) int {
	rest := w.body[i:]
	switch {
	case len(rest) >= 4 && (string(rest[:4]) == "true" || string(rest[:4]) == "null"):
		return i + 4
	case len(rest) >= 5 && string(rest[:5]) == "false":
		return i + 5
	}
	return w.fail(i, faultValue)
}

// container checks the object or array at i and returns its end. It keeps one
// bit a level instead of recursing.
func (w *walker) container(i int) int {
	b := w.body
	level, values, closing := 0, w.values, byte(0)
	for { // a value stands at i
		if values--; values < 0 {
			return w.fail(i, faultValues)
		}
		if uint(i) >= uint(len(b)) {
			return w.fail(len(b), faultTruncated)
		}
		switch c := b[i]; c {
		case '{', '[':
			if level >= w.depth {
				return w.fail(i, faultDepth)
			}
			closing = c + 2 // '{'+2 is '}', '['+2 is ']'
			w.push(level, c == '{')
			level++
			i = w.token(i + 1)
			if uint(i) >= uint(len(b)) || b[i] != closing {
				if c == '{' {
					if _, i = w.key(i); i < 0 {
						return -1
					}
				}
				continue
			}
		case '"':
			i = w.str(i)
		default:
			i = w.scalar(i)
		}
		for { // a value ended at i
			if uint(i) >= uint(len(b)) || b[i] <= ' ' {
				if i = w.pause(i); i < 0 {
					return -1
				}
			}
			if c := b[i]; c == ',' {
				break
			} else if c != closing {
				return w.fail(i, faultComma)
			}
			i++
			if level--; level == 0 {
				w.values = values
				return i
			}
			closing = w.closing(level - 1)
		}
		i = w.token(i + 1)
		if closing == '}' {
			if _, i = w.key(i); i < 0 {
				return -1
			}
		}
	}
}

// pause steps over white space to a byte that must be there. An offset of -1
// stays.
func (w *walker) pause(i int) int {
	if i < 0 {
		return -1
	}
	if i = w.space(i); i >= len(w.body) {
		return w.fail(i, faultTruncated)
	}
	return i
}

func (w *walker) push(level int, object bool) {
	word := &w.objects[uint(level)/64%uint(len(w.objects))]
	bit := uint64(1) << (uint(level) % 64)
	if *word &^= bit; object {
		*word |= bit
	}
}

// closing is the bracket that ends the container of that level.
func (w *walker) closing(level int) byte {
	if w.objects[uint(level)/64%uint(len(w.objects))]>>(uint(level)%64)&1 != 0 {
		return '}'
	}
	return ']'
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
// behind its closing quote. Most strings are keys and words of up to 16 plain
// bytes.
func (w *walker) str(i int) int {
	b := w.body
	i++
	if len(b)-i >= 16 {
		head := b[i : i+16]
		m := special(binary.LittleEndian.Uint64(head))
		if m == 0 {
			i += 8
			if m = special(binary.LittleEndian.Uint64(head[8:])); m == 0 {
				return w.longStr(plain(b, i+8))
			}
		}
		i += bits.TrailingZeros64(m) >> 3
		if b[i] == '"' {
			return i + 1
		}
		return w.longStr(i)
	}
	return w.longStr(plain(b, i))
}

// longStr is str from the special byte at i on.
func (w *walker) longStr(i int) int {
	b := w.body
	for uint(i) < uint(len(b)) {
		switch c := b[i]; {
		case c == '"':
			return i + 1
		case c == '\\':
			w.escaped = true
			if i+1 < len(b) && escapes[b[i+1]] != 0 {
				i += 2
			} else if n := escapeLen(b, i); n > 0 {
				i += n
			} else {
				return w.fail(i, faultEscape)
			}
		case c < ' ':
			return w.fail(i, faultControl)
		default:
			if i = multibyte(b, i); i >= len(b) || b[i] >= utf8.RuneSelf {
				return w.unexpected(i, faultUTF8)
			}
		}
		// Runs between escapes are short.
		if len(b)-i < 8 {
			i = plain(b, i)
		} else if m := special(binary.LittleEndian.Uint64(b[i:])); m != 0 {
			i += bits.TrailingZeros64(m) >> 3
		} else {
			i = plain(b, i+8)
		}
	}
	return w.fail(len(b), faultTruncated)
}

// escapeLen is the length of the escape at i, 0 when it is malformed.
func escapeLen(b []byte, i int) int {
	if len(b)-i < 2 {
		return 0
	}
	c := b[i+1]
	if escapes[c] != 0 {
		return 2
	}
	if c == 'u' && len(b)-i >= 6 && hex4(b[i+2:]) >= 0 {
		return 6
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
// belong to a well-formed UTF-8 sequence of two bytes or more (RFC 3629).
func multibyte(b []byte, i int) int {
	for i < len(b) && b[i] >= utf8.RuneSelf {
		if len(b)-i >= 4 {
			switch u := binary.LittleEndian.Uint32(b[i:]); {
			case u&0xc0c0f0 == 0x8080e0 && u&0x200f != 0 && u&0x200f != 0x200d:
				i += 3 // neither overlong nor a surrogate
				continue
			case u&0xc0e0 == 0x80c0 && u&0x1e != 0:
				i += 2 // not overlong
				continue
			}
		}
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
func special(word uint64) uint64 { return marks(word) & highs }

// marks is special before the other bits are cut off.
func marks(word uint64) uint64 {
	// x^2 maps the quote to 0x20 and keeps controls below it: one compare.
	return (word ^ 0x02*ones - 0x21*ones) | (word ^ '\\'*ones - ones) | word
}

// plain returns the offset of the first special byte at or after i, or
// len(b).
func plain(b []byte, i int) int {
	for ; len(b)-i >= 32; i += 32 {
		block := b[i : i+32 : i+32]
		w0 := binary.LittleEndian.Uint64(block)
		w1 := binary.LittleEndian.Uint64(block[8:])
		w2 := binary.LittleEndian.Uint64(block[16:])
		w3 := binary.LittleEndian.Uint64(block[24:])
		if (marks(w0)|marks(w1)|marks(w2)|marks(w3))&highs != 0 {
			break
		}
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
