package v1

import "strings"

// Like tells whether text fits a pattern, in which * stands for any characters.
// It takes time linear in text for each * of the pattern.
func Like(pattern, text string) bool {
	head, rest, starred := strings.Cut(pattern, "*")
	if !starred {
		return pattern == text
	}
	if !strings.HasPrefix(text, head) {
		return false
	}
	text = text[len(head):]
	for {
		part, next, more := strings.Cut(rest, "*")
		if !more {
			return strings.HasSuffix(text, part)
		}
		i := strings.Index(text, part)
		if i < 0 {
			return false
		}
		text, rest = text[i+len(part):], next
	}
}

// LikeBehind tells whether some text that begins with prefix, and goes on, fits
// a pattern.
func LikeBehind(pattern, prefix string) bool {
	head, _, starred := strings.Cut(pattern, "*")
	if len(head) > len(prefix) || !starred {
		return len(head) > len(prefix) && strings.HasPrefix(head, prefix)
	}
	return strings.HasPrefix(prefix, head)
}

// IsPattern tells whether a text stands for others than itself.
func IsPattern(text string) bool { return strings.Contains(text, "*") }
