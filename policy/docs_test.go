package policy_test

import (
	"os"
	"regexp"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/policy"
)

var example = regexp.MustCompile("(?ms)^```([a-z ]+)\n(.*?)^```$")

// The examples of docs/policies.md compile together and pass the cases that stand there.
func TestExamplesOfTheDocumentation(t *testing.T) {
	text, err := os.ReadFile("../docs/policies.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := map[string]string{}
	for _, m := range example.FindAllStringSubmatch(string(text), -1) {
		blocks[m[1]] += m[2]
	}
	c, problems := v1.Parse([]byte(blocks["yaml config"]), v1.Options{
		Glob:     func(string) ([]string, error) { return []string{"policies/a.cedar"}, nil },
		ReadFile: func(string) ([]byte, error) { return []byte(blocks["cedar"]), nil },
	})
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	s := compile(t, c)
	if w := s.Warnings(); len(w) > 0 {
		t.Error(w)
	}
	cases, err := policy.ParseCases([]byte(blocks["yaml cases"]))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range cases.Run(func(q *policy.Question) (*policy.Explanation, error) { return s.Answer(c, q) }) {
		if r.Problem != "" {
			t.Errorf("%s: %s", r.Name, r.Problem)
		}
	}
}
