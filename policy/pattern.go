package policy

import (
	"slices"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// mayStart tells whether some text with a prefix fits a pattern.
func mayStart(pattern, prefix string) bool {
	head, _, star := strings.Cut(pattern, "*")
	return strings.HasPrefix(head, prefix) || star && strings.HasPrefix(prefix, head)
}

// patterns finds which of many patterns fit a text, without looking at each.
type patterns struct {
	exact   map[string][]int
	heads   map[string][]int     // what stands before a * at the end
	lengths []int                // of the keys of heads, ascending
	tails   map[string][]pattern // of one * that is not at the end, by what stands behind it
	ends    []int                // lengths of the keys of tails, ascending
	rest    []pattern
}

type pattern struct {
	text string
	rule int
}

// add enters the pattern of a rule.
func (p *patterns) add(text string, rule int) {
	head, tail, star := strings.Cut(text, "*")
	switch {
	case !star:
		if p.exact == nil {
			p.exact = map[string][]int{}
		}
		p.exact[text] = append(p.exact[text], rule)
	case strings.Trim(tail, "*") == "":
		if p.heads == nil {
			p.heads = map[string][]int{}
		}
		p.heads[head] = append(p.heads[head], rule)
		p.lengths = insert(p.lengths, len(head))
	case !strings.Contains(tail, "*"):
		if p.tails == nil {
			p.tails = map[string][]pattern{}
		}
		p.tails[tail] = append(p.tails[tail], pattern{text, rule})
		p.ends = insert(p.ends, len(tail))
	default:
		p.rest = append(p.rest, pattern{text, rule})
	}
}

// insert adds a number to ascending ones, once.
func insert(to []int, n int) []int {
	i, ok := slices.BinarySearch(to, n)
	if ok {
		return to
	}
	return slices.Insert(to, i, n)
}

// match adds the rules to found of which a pattern fits. With plain, only * itself counts of what has a *.
func (p *patterns) match(text string, plain bool, found func(rule int)) {
	each := func(rules []int) {
		for _, rule := range rules {
			found(rule)
		}
	}
	each(p.exact[text])
	for _, n := range p.lengths {
		if n > len(text) || plain && n > 0 {
			break
		}
		each(p.heads[text[:n]])
	}
	if plain {
		return
	}
	for _, n := range p.ends {
		if n > len(text) {
			break
		}
		like(p.tails[text[len(text)-n:]], text, found)
	}
	like(p.rest, text, found)
}

func like(all []pattern, text string, found func(rule int)) {
	for _, r := range all {
		if v1.Like(r.text, text) {
			found(r.rule)
		}
	}
}

// winding tells whether a URI has dot segments, perhaps encoded: what it names is not what it begins with.
func winding(uri string) bool {
	if !strings.ContainsAny(uri, ".%") {
		return false
	}
	for range 3 { // encodings of encodings
		plain := unescape.Replace(uri)
		if plain == uri {
			break
		}
		uri = plain
	}
	path, _, _ := strings.Cut(uri, "?")
	path, _, _ = strings.Cut(path, "#")
	for segment := range strings.FieldsFuncSeq(path, func(r rune) bool { return r == '/' || r == '\\' }) {
		if segment == "." || segment == ".." {
			return true
		}
	}
	return false
}

// unescape takes off the encodings that hide a dot segment.
var unescape = strings.NewReplacer("%2e", ".", "%2E", ".", "%2f", "/", "%2F", "/", "%5c", `\`, "%5C", `\`, "%25", "%")
