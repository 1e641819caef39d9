package main

import "bytes"

// members calls f for each member of a JSON object. It is made for the cheap
// server: it trusts its input to be JSON, and stops where it is not.
func members(obj []byte, f func(key, value []byte)) bool {
	i := space(obj, 0)
	if i >= len(obj) || obj[i] != '{' {
		return false
	}
	i = space(obj, i+1)
	for i < len(obj) && obj[i] == '"' {
		end := afterString(obj, i)
		if end < 0 {
			return false
		}
		key := obj[i+1 : end-1]
		if i = space(obj, end); i >= len(obj) || obj[i] != ':' {
			return false
		}
		i = space(obj, i+1)
		if end = afterValue(obj, i); end < 0 {
			return false
		}
		f(key, obj[i:end])
		if i = space(obj, end); i < len(obj) && obj[i] == ',' {
			i = space(obj, i+1)
		}
	}
	return i < len(obj) && obj[i] == '}'
}

func space(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// afterString returns the index after the string that starts at b[i], or -1.
func afterString(b []byte, i int) int {
	for i++; i < len(b); i++ {
		j := bytes.IndexByte(b[i:], '"')
		if j < 0 {
			return -1
		}
		i += j
		slashes := 0
		for b[i-1-slashes] == '\\' {
			slashes++
		}
		if slashes%2 == 0 {
			return i + 1
		}
	}
	return -1
}

// afterValue returns the index after the value that starts at b[i], or -1.
func afterValue(b []byte, i int) int {
	if i >= len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return afterString(b, i)
	case '{', '[':
		return afterNested(b, i)
	}
	for i < len(b) && b[i] != ',' && b[i] != '}' && b[i] != ']' && b[i] > ' ' {
		i++
	}
	return i
}

func afterNested(b []byte, i int) int {
	for depth := 0; i < len(b); {
		switch b[i] {
		case '"':
			if i = afterString(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		case '}', ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		i++
	}
	return -1
}

// content returns what stands between the quotes of a string, escapes and all.
func content(v []byte) []byte {
	if len(v) >= 2 && v[0] == '"' {
		return v[1 : len(v)-1]
	}
	return v
}
