package policy

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// The bounds of Cedar policies.
const (
	policiesMost = 10_000
	policyMost   = 64 << 10 // bytes
	deepest      = 100      // brackets
	problemsMost = 100
)

// Problem is one thing that is wrong with a Cedar policy.
type Problem struct {
	// File is the file as policies.cedar names it, and Line where the policy begins, or what is wrong in it.
	File string
	Line int
	// Message says what is wrong and how to mend it.
	Message string
}

// String returns "file:line: message".
func (p Problem) String() string { return p.File + ":" + strconv.Itoa(p.Line) + ": " + p.Message }

// Problems is all that is wrong with the Cedar policies of a configuration.
type Problems []Problem

// Error returns the problems, one a line.
func (ps Problems) Error() string {
	var lines []string
	for i, p := range ps {
		if i == problemsMost {
			lines = append(lines, fmt.Sprintf("and %d more problems", len(ps)-i))
			break
		}
		lines = append(lines, p.String())
	}
	return strings.Join(lines, "\n")
}

// load parses and checks the Cedar files of policies.
func load(c *v1.Config, p *v1.Policies) ([]*cedar.Policy, error) {
	if len(p.Files) == 0 {
		return nil, nil
	}
	var all []*cedar.Policy
	var problems Problems
	check, err := newChecker(c, p)
	if err != nil {
		return nil, err
	}
	for _, f := range p.Files {
		list, wrong := parse(f)
		for _, one := range list {
			wrong = append(wrong, check.policy(one)...)
		}
		all, problems = append(all, list...), append(problems, wrong...)
		if len(all) > policiesMost {
			return nil, Problems{{f.Name, 1, fmt.Sprintf("with this file there are more than %d policies", policiesMost)}}
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return all, nil
}

// parse reads the policies of a file, one by one, so that each tells what is wrong with it.
func parse(f v1.PolicyFile) (all []*cedar.Policy, problems Problems) {
	if !utf8.ValidString(f.Text) {
		return nil, Problems{{f.Name, 1, "is not UTF-8"}}
	}
	chunks, problem := cut(f.Text)
	if problem != nil {
		problem.File = f.Name
		problems = append(problems, *problem)
	} else if len(chunks) == 0 {
		// Files are read while they are written: without its policies what they forbid would be permitted.
		return nil, Problems{{f.Name, 1, "holds no policy; write one, or remove the file from policies.cedar"}}
	}
	for _, c := range chunks {
		list, err := cedar.NewPolicyListFromBytes(f.Name, []byte(c.text))
		if err != nil {
			line, message := explainSyntax(err)
			problems = append(problems, Problem{f.Name, c.line + line - 1, message})
			continue
		}
		for _, p := range list {
			node := toAST(p)
			node.Position.Filename = f.Name
			node.Position.Line += c.line - 1
			all = append(all, fromAST(node))
		}
	}
	return all, problems
}

// chunk is the text of one policy and the line where it begins.
type chunk struct {
	text string
	line int
}

// cut takes a file apart at the ends of its policies. It bounds their size and how deep they nest, since they are read
// by recursion.
func cut(text string) (chunks []chunk, problem *Problem) {
	at, begun, depth := 0, 0, 0 // begun: where the policy does, when it has
	line, first := 1, 0
	end := func(to int) {
		if first > 0 {
			chunks = append(chunks, chunk{text[begun:to], first})
		}
		first, depth = 0, 0
	}
	for at < len(text) {
		size := tokenSize(text[at:])
		t := text[at : at+size]
		if first == 0 && t[0] > ' ' && !strings.HasPrefix(t, "//") {
			begun, first = at, line
		}
		at += size
		switch t[0] {
		case '\n':
			line++
		case '(', '[', '{':
			depth++
		case ')', ']', '}':
			depth--
		case ';':
			end(at)
		}
		switch {
		case depth > deepest:
			return nil, &Problem{Line: line, Message: fmt.Sprintf("has more than %d brackets inside each other; split the policy", deepest)}
		case first > 0 && at-begun > policyMost:
			return nil, &Problem{Line: first, Message: fmt.Sprintf("the policy has more than %d bytes; split it", policyMost)}
		case len(chunks) > policiesMost:
			return nil, &Problem{Line: line, Message: fmt.Sprintf("there are more than %d policies", policiesMost)}
		}
	}
	end(len(text))
	return chunks, nil
}

// tokenSize is the length of the string or comment that a text begins with; 1 where it begins with neither.
func tokenSize(text string) int {
	switch {
	case strings.HasPrefix(text, "//"):
		if i := strings.IndexByte(text, '\n'); i > 0 {
			return i
		}
		return len(text)
	case text[0] == '"':
		for i := 1; i < len(text) && text[i] != '\n'; i++ {
			switch text[i] {
			case '\\':
				i++
			case '"':
				return i + 1
			}
		}
	}
	return 1
}

var (
	syntaxPlace = regexp.MustCompile(`<input>:(\d+):\d+:? ?`)
	syntaxExact = regexp.MustCompile(`"[^"]*": exact got (.*) want (.*)$`)
)

// explainSyntax puts an error of the parser in words, with its line.
func explainSyntax(err error) (line int, message string) {
	text := strings.TrimPrefix(err.Error(), "parser error: ")
	text = strings.TrimPrefix(text, "parse error at ")
	line = 1
	if at := syntaxPlace.FindStringSubmatchIndex(text); at != nil {
		line, _ = strconv.Atoi(text[at[2]:at[3]])
		text = text[:at[0]] + text[at[1]:]
	}
	if m := syntaxExact.FindStringSubmatch(text); m != nil {
		got := "the end of the policy"
		if m[1] != "" {
			got = strconv.Quote(m[1])
		}
		text = fmt.Sprintf("there is %s where %q belongs", got, m[2])
	}
	if strings.Contains(text, "value out of range") {
		text = "has a number that is no 64-bit integer; compare context.numbers with a decimal instead"
	}
	if errors.Is(err, strconv.ErrSyntax) {
		text = "has a number that cannot be read"
	}
	return max(line, 1), "is not valid Cedar: " + text
}
