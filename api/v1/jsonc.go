package v1

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// fromJSON turns JSON, as clients and editors write it, into the YAML that it
// nearly is: comments become spaces and escaped surrogate pairs one character.
// Lines stay where they are. ok is false when data does not look like JSON.
func fromJSON(data []byte) (out []byte, ok bool) {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	out = make([]byte, 0, len(data))
	object := false // the opening brace was seen
	first := true   // what follows it decides whether this is JSON
	for i := 0; i < len(data); {
		c := data[i]
		switch {
		case c == '/' && i+1 < len(data) && (data[i+1] == '/' || data[i+1] == '*'):
			n := commentLength(data[i:])
			out = appendBlank(out, data[i:i+n])
			i += n
			continue
		case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		case !object:
			if c != '{' {
				return nil, false
			}
			object = true
		case first:
			if c != '"' && c != '}' {
				return nil, false
			}
			first = false
		case c == '\'' || c == '#':
			return nil, false
		}
		if c == '"' {
			n := stringLength(data[i:])
			out = appendString(out, data[i:i+n])
			i += n
			continue
		}
		out = append(out, c)
		i++
	}
	return out, object && !first
}

// jsonProblem says where data stops to be JSON; nil when it is.
func jsonProblem(data []byte) *Problem {
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	var wrong *json.SyntaxError
	if err := json.Unmarshal(uncommented(data), new(any)); !errors.As(err, &wrong) {
		return nil
	}
	before := data[:min(max(0, int(wrong.Offset)-1), len(data))]
	if int(wrong.Offset) >= len(data) { // it ends too early
		before = data
	}
	line := bytes.Count(before, []byte("\n")) + 1
	column := utf8.RuneCount(before[bytes.LastIndexByte(before, '\n')+1:]) + 1
	return &Problem{Line: line, Message: fmt.Sprintf("is not valid JSON at column %d: %s", column, wrong)}
}

// uncommented blanks comments, so that all stays where it is.
func uncommented(data []byte) []byte {
	out := make([]byte, 0, len(data))
	for i := 0; i < len(data); {
		n := 1
		switch rest := data[i:]; {
		case bytes.HasPrefix(rest, []byte("//")), bytes.HasPrefix(rest, []byte("/*")):
			n = commentLength(rest)
			out = appendBlank(out, rest[:n])
			i += n
			continue
		case data[i] == '"':
			n = stringLength(rest)
		}
		out = append(out, data[i:i+n]...)
		i += n
	}
	return out
}

func commentLength(s []byte) int {
	end, skip := []byte("\n"), 0
	if s[1] == '*' {
		end, skip = []byte("*/"), 2
	}
	if n := bytes.Index(s[2:], end); n >= 0 {
		return 2 + n + skip
	}
	return len(s)
}

func appendBlank(out, comment []byte) []byte {
	for _, c := range comment {
		if c != '\n' {
			c = ' '
		}
		out = append(out, c)
	}
	return out
}

// stringLength returns the length of a JSON string with its quotes, or of what
// there is of it.
func stringLength(s []byte) int {
	for i := 1; i < len(s); i++ {
		switch s[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return len(s)
}

// appendString copies a JSON string and joins escaped surrogate pairs, which
// YAML does not know. A lone surrogate stays, for YAML to refuse.
func appendString(out, s []byte) []byte {
	for i := 0; i < len(s); {
		if s[i] != '\\' || i+1 == len(s) {
			out = append(out, s[i])
			i++
			continue
		}
		if r := utf16.DecodeRune(escapedUnit(s[i:]), escapedUnit(s[min(i+6, len(s)):])); r != utf8.RuneError {
			out = utf8.AppendRune(out, r)
			i += 12
			continue
		}
		out = append(out, s[i], s[i+1])
		i += 2
	}
	return out
}

// escapedUnit returns the UTF-16 unit of a \uXXXX escape, or a value that is no
// surrogate.
func escapedUnit(s []byte) rune {
	if len(s) < 6 || s[0] != '\\' || s[1] != 'u' {
		return 0
	}
	n, err := strconv.ParseUint(string(s[2:6]), 16, 16)
	if err != nil {
		return 0
	}
	return rune(n)
}
