package policy_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/toolcrib/toolcrib/policy"
)

// Whoever writes cases is told line, key and remedy, of all that is wrong at once.
func TestWrongCases(t *testing.T) {
	for name, c := range map[string]struct{ file, want string }{
		"empty":     {"", "cases: holds none; write {principal: …, tool: …, expect: allow} for each"},
		"no object": {"- a", "line 1: is a list; must be an object of keys and values"},
		"no YAML":   {"cases: [a", "line 2: is not valid YAML: did not find expected ',' or ']' while reading a list that starts in line 1"},
		"twice":     {"cases: []\ncases: []", "line 2: cases: is given twice, first in line 1"},
		"two":       {"cases: []\n---\ncases: []", "line 2: holds a second document; one file holds one"},
		"many": {
			"principals: {ann: {subjet: ann}}\ntools: {a__b: {readOnly: maybe}}\ncases:\n- {principal: ann, tol: a__b, expect: alow}\n" +
				"- principal: {groups: ann}\n  tool: [a__b]\n  at: noon\n",
			`line 1: principals.ann.subjet: is not a known key; did you mean "subject"?` + "\n" +
				"line 2: tools.a__b.readOnly: is text; must be true or false\n" +
				`line 4: cases[0].tol: is not a known key; did you mean "tool"?` + "\n" +
				`line 4: cases[0].expect: is "alow"; write allow, deny or step-up` + "\n" +
				"line 5: cases[1].principal.groups: is text; must be a list, like [a, b]\n" +
				"line 6: cases[1].tool: is a list; must be text\n" +
				"line 7: cases[1].at: is no time; write it as 2026-11-20T10:00:00Z\n" +
				"line 5: cases[1].expect: is missing; write allow, deny or step-up",
		},
		"alias": {
			"cases:\n- {principal: &a {}, tool: x, arguments: {a: *a}, expect: deny}",
			"line 2: cases[0].arguments: has an alias (*name); write the value out",
		},
		"merged": {
			"principals: {a: &a {}}\ncases:\n- {principal: {<<: *a}, tool: x, expect: deny}",
			"line 3: cases[0].principal: has a key that is no plain text; write the keys out",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := policy.ParseCases([]byte(c.file))
			if err == nil {
				t.Fatal("no problem is found")
			}
			if diff := cmp.Diff(c.want, err.Error()); diff != "" || strings.Contains(err.Error(), "policy.") {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}
