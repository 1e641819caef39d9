package mcp

import (
	"bytes"
	"unicode/utf16"
	"unicode/utf8"
)

// Text returns the decoded content of a raw JSON string of an already scanned
// body: a part of body itself when it has no escapes, else appended to
// scratch[:0]. ok is false for lone surrogates and for what is no string.
func Text(body []byte, s Span, scratch []byte) (text []byte, ok bool) {
	raw := s.Of(body)
	if len(raw) < 2 || raw[0] != '"' || raw[len(raw)-1] != '"' {
		return nil, false
	}
	raw = raw[1 : len(raw)-1]
	if bytes.IndexByte(raw, '\\') < 0 {
		return raw, true
	}
	return unescape(scratch[:0], raw)
}

var escapes = [256]byte{
	'"': '"', '\\': '\\', '/': '/', 'b': '\b', 'f': '\f', 'n': '\n', 'r': '\r', 't': '\t',
}

// unescape appends the decoded content of a string to dst; ok is false when it
// has a lone surrogate or a malformed escape.
func unescape(dst, raw []byte) (text []byte, ok bool) {
	for {
		i := bytes.IndexByte(raw, '\\')
		if i < 0 {
			return append(dst, raw...), true
		}
		dst = append(dst, raw[:i]...)
		raw = raw[i:]
		n := escapeLen(raw, 0)
		switch n {
		case 0:
			return dst, false
		case 2:
			dst = append(dst, escapes[raw[1]])
		default:
			r := rune(hex4(raw[2:]))
			if utf16.IsSurrogate(r) {
				if len(raw) < 12 || raw[6] != '\\' || raw[7] != 'u' {
					return dst, false
				}
				n = 12
				if r = utf16.DecodeRune(r, rune(hex4(raw[8:]))); r == utf8.RuneError {
					return dst, false
				}
			}
			dst = utf8.AppendRune(dst, r)
		}
		raw = raw[n:]
	}
}

// AppendString appends s as a JSON string. What is not ASCII stays as it is;
// bytes that are not UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	const digits = "0123456789abcdef"
	dst = append(dst, '"')
	for i := 0; i < len(s); {
		n := i
		for n < len(s) && s[n] >= ' ' && s[n] < utf8.RuneSelf && s[n] != '"' && s[n] != '\\' {
			n++
		}
		if dst = append(dst, s[i:n]...); n == len(s) {
			break
		}
		i = n
		switch c := s[i]; {
		case c >= utf8.RuneSelf:
			r, n := utf8.DecodeRuneInString(s[i:])
			dst = utf8.AppendRune(dst, r)
			i += n
			continue
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\n':
			dst = append(dst, '\\', 'n')
		case c == '\r':
			dst = append(dst, '\\', 'r')
		case c == '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
		i++
	}
	return append(dst, '"')
}

// MaxInteger is the largest integer, and its negative the smallest, that every
// JSON reader keeps exactly: 2^53-1.
const MaxInteger = 1<<53 - 1

// Integer returns the value of a JSON number that is an integer, however it is
// written (42, 42.0, 4.2e1), and lies within ±[MaxInteger].
func Integer(body []byte, s Span) (int64, bool) {
	raw := s.Of(body)
	w := walker{body: raw}
	if len(raw) == 0 || raw[0] != '-' && raw[0]-'0' > 9 || w.number(0) != len(raw) {
		return 0, false
	}
	return integer(raw)
}

// integer does it for text that is a JSON number.
func integer(raw []byte) (int64, bool) {
	negative := raw[0] == '-'
	if negative {
		raw = raw[1:]
	}
	exponent := 0
	if e := bytes.IndexAny(raw, "eE"); e >= 0 {
		exponent = clampedInt(raw[e+1:])
		raw = raw[:e]
	}
	whole, fraction, _ := bytes.Cut(raw, []byte{'.'})
	fraction = bytes.TrimRight(fraction, "0")
	v, zeros := int64(0), 0 // zeros that only count when a digit follows
	for _, part := range [2][]byte{whole, fraction} {
		for _, c := range part {
			if c == '0' {
				zeros++
				continue
			}
			var ok bool
			if v, ok = shift(v, zeros+1); !ok {
				return 0, false
			}
			v, zeros = v+int64(c-'0'), 0
		}
	}
	if v == 0 {
		return 0, true
	}
	v, ok := shift(v, zeros+exponent-len(fraction))
	if !ok || v > MaxInteger {
		return 0, false
	}
	if negative {
		v = -v
	}
	return v, true
}

// shift multiplies v by ten to the n; ok is false when the result has a
// fraction or is far over [MaxInteger].
func shift(v int64, n int) (int64, bool) {
	if v == 0 {
		return 0, true
	}
	for ; n > 0; n-- {
		if v *= 10; v > MaxInteger*10 {
			return 0, false
		}
	}
	for ; n < 0; n++ {
		if v%10 != 0 {
			return 0, false
		}
		v /= 10
	}
	return v, true
}

// clampedInt reads an exponent; what no integer can have is cut off.
func clampedInt(raw []byte) int {
	const most = 1 << 30
	negative := raw[0] == '-'
	v := 0
	for _, c := range bytes.TrimLeft(raw, "+-") {
		v = min(v*10+int(c-'0'), most)
	}
	if negative {
		return -v
	}
	return v
}
