package pinning

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/go-json-experiment/json/jsontext"
)

// Book is what is approved: definitions by server and by the server's own name for the tool.
type Book map[string]map[string]*Definition

// Verdict is how a definition stands to its approval.
type Verdict string

// The verdicts.
const (
	Same    Verdict = "same"
	Changed Verdict = "changed"
	New     Verdict = "new"     // never approved
	Removed Verdict = "removed" // approved, but not among the server's tools
	Unfit   Verdict = "unfit"   // no definition that could be approved
)

// Check compares a definition with what was approved under its name.
func (b Book) Check(server, tool string, d *Definition) Verdict {
	was := b[server][tool]
	switch {
	case was == nil:
		return New
	case was.Hash != d.Hash:
		return Changed
	}
	return Same
}

// Approve has the book approve a definition.
func (b Book) Approve(server, tool string, d *Definition) {
	if b[server] == nil {
		b[server] = map[string]*Definition{}
	}
	b[server][tool] = d
}

// Forget ends the approval of a tool.
func (b Book) Forget(server, tool string) {
	delete(b[server], tool)
	if len(b[server]) == 0 {
		delete(b, server)
	}
}

// Valid tells what is wrong with a book that was read: a hash that is not that of the members is an approval of nothing.
func (b Book) Valid() error {
	for server, tools := range b {
		for tool, d := range tools {
			if d == nil {
				return fmt.Errorf("the approval of tool %q of server %q is null; remove it", tool, server)
			}
			again, err := d.again(tool)
			if err != nil {
				return fmt.Errorf("the approval of tool %q of server %q: %w", tool, server, err)
			}
			if again != d.Hash {
				return fmt.Errorf("the approval of tool %q of server %q was edited: its hash is not that of its members; approve it anew", tool, server)
			}
		}
	}
	return nil
}

// again is the hash of an approved definition, from its members in any form.
func (d *Definition) again(tool string) (string, error) {
	name, err := jsontext.AppendQuote(nil, tool)
	if err != nil {
		return "", err
	}
	whole := &Definition{Members: map[string]jsontext.Value{"name": name}}
	for member, value := range d.Members {
		value = slices.Clone(value)
		if err := canonicalize(&value); err != nil {
			return "", err
		}
		whole.Members[member] = value
	}
	return whole.hash(), nil
}

// Difference is one member that differs; Was and Is are empty where it is not there.
type Difference struct {
	Member string `json:"member"`
	Was    string `json:"was,omitempty"`
	Is     string `json:"is,omitempty"`
}

// Diff tells in which members a definition differs from the approved one; nil stands for a definition that is not there.
func Diff(was, is *Definition) []Difference {
	members := map[string]bool{}
	for _, d := range []*Definition{was, is} {
		if d != nil {
			for name := range d.Members {
				members[name] = true
			}
		}
	}
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	var out []Difference
	for _, name := range names {
		a, b := was.member(name), is.member(name)
		if a != b {
			out = append(out, Difference{name, Inert(a), Inert(b)})
		}
	}
	return out
}

func (d *Definition) member(name string) string {
	if d == nil {
		return ""
	}
	value := slices.Clone(d.Members[name])
	if value == nil || canonicalize(&value) != nil {
		return string(value)
	}
	return string(value)
}

// Inert shows text of a server so that it can neither steer a terminal nor hide: what is not plainly visible is escaped.
func Inert(text string) string {
	var b strings.Builder
	for _, r := range text {
		if r == ' ' || unicode.IsGraphic(r) && !unicode.IsSpace(r) && !hidden(r) {
			b.WriteRune(r)
			continue
		}
		b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
	}
	return b.String()
}

// hidden are graphic characters that show as nothing, or as part of another.
func hidden(r rune) bool {
	return unicode.In(r, unicode.Cf, unicode.Mn, unicode.Me, unicode.Variation_Selector) || r == '\u3164' || r == '\uffa0' || r == '\u115f' || r == '\u1160'
}
