package real_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestConformance runs the official suite against a server, and against the
// same server behind the gateway: at its own endpoint, and at the joined one
// without a prefix. What the server passes, scored or not, it must pass behind
// the gateway, but for the checks that a file lists with the reason of each.
// Further legs expect the same with servers of either era, over HTTP and on
// stdio, and all that of three replicas of which each request meets any.
func TestConformance(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ revision, same string }{{modern, "http-modern"}, {legacy, "http-legacy"}} {
		t.Run(c.revision, func(t *testing.T) {
			t.Parallel()
			p := needParts(t)
			everything := filepath.Join(p.goBin, "everything-server")
			entries := map[string]server{
				"http-modern":  {URL: everythingServer(t, p, true)},
				"http-legacy":  {URL: everythingServer(t, p, false)},
				"stdio-modern": {Command: everything},
				"stdio-legacy": {Command: filepath.Join(p.goBin, "old"), Args: []string{everything}},
			}
			direct := runSuite(t, p, entries[c.same].URL, c.revision)
			joined := gateway(t, map[string]server{"everything": {URL: entries[c.same].URL, Prefix: new(string)}})
			bases := map[string]string{
				"one":   fleet(t, 1, entries, "").URL,
				"three": fleet(t, 3, entries, testenv.StartRedis(t).URL()).URL,
			}
			leg := func(name, url, expected string) {
				t.Run(name, func(t *testing.T) {
					through := runSuite(t, p, url, c.revision)
					list := readExpected(t, "expected-failures-"+c.revision+expected+".yml")
					if strings.HasSuffix(url, "/stdio-legacy/mcp") {
						alone(t, p, url, c.revision, direct, through, list)
					}
					if strings.HasPrefix(name, "three/stdio") {
						byChance(direct, through)
					}
					compare(t, direct, through, list)
				})
			}
			leg("joined", joined+"/mcp", "")
			for _, replicas := range []string{"one", "three"} {
				for _, name := range slices.Sorted(maps.Keys(entries)) {
					expected := "-" + name
					if name == c.same {
						expected = ""
					}
					leg(replicas+"/"+name, bases[replicas]+"/servers/"+name+"/mcp", expected)
				}
			}
		})
	}
}

// alone runs again, one by one, the scenarios that ask and failed at a server
// whose questions can be attributed only while a single call is under way: the
// suite leaves calls behind unanswered, which are under way until they expire.
func alone(t *testing.T, p *parts, url, revision string, direct, through checks, expected map[string]string) {
	t.Helper()
	const attempts = 4
	for _, name := range slices.Sorted(maps.Keys(direct)) {
		scenario, _, _ := strings.Cut(name, ":")
		if !strings.HasPrefix(scenario, "input-required-result-") || listed(expected, name, scenario) != "" {
			continue
		}
		for range attempts {
			if through[name].Status == "SUCCESS" || direct[name].Status != "SUCCESS" {
				break
			}
			maps.DeleteFunc(through, func(name string, _ outcome) bool { return strings.HasPrefix(name, scenario+":") })
			maps.Copy(through, suite(t, p, "--url", url, "--scenario", scenario, "--spec-version", revision))
		}
	}
}

// processBound are the checks that follow what a tool changes in the server's
// own process: each replica has a process of its own, and what changes in one
// of them does not change in the others.
var processBound = []string{
	"server-stateless:sep-2575-server-sends-prompts-list-changed-on-subscription",
	"server-stateless:sep-2575-server-sends-tools-list-changed-on-subscription",
	"tools-list:tools-list-deterministic-order",
	"http-header-validation:sep-2243-server-accepts-whitespace-header-value", // calls the first tool of a list
}

// byChance takes for passed what depends on which replica a request comes to.
func byChance(direct, through checks) {
	for _, name := range processBound {
		if _, ok := through[name]; ok {
			through[name] = direct[name]
		}
	}
}

// outcome is the worst that became of a check id in a scenario. A check may be
// reported several times.
type outcome struct {
	Status  string `json:"status"`
	Message string `json:"errorMessage"`
}

var badness = map[string]int{"SUCCESS": 1, "INFO": 2, "SKIPPED": 3, "WARNING": 4, "FAILURE": 5}

// checks maps scenario:check-id to its outcome.
type checks map[string]outcome

// resultName is the name of a folder of results: the scenario and a time.
var resultName = regexp.MustCompile(`^server-(.+)-\d{4}-\d{2}-\d{2}T`)

// runSuite runs the requirement set of a revision and reads its results.
func runSuite(t *testing.T, p *parts, url, revision string) checks {
	t.Helper()
	return suite(t, p, "--url", url, "--requirements", revision)
}

// suite runs the suite with arguments and reads its results.
func suite(t *testing.T, p *parts, args ...string) checks {
	t.Helper()
	out := t.TempDir()
	script := filepath.Join(p.modules, "node_modules", "@modelcontextprotocol", "conformance", "dist", "index.js")
	stdout, _, err := runNode(t, p, append([]string{script, "server", "-o", out}, args...)...)
	var exit *exec.ExitError
	if err != nil && !(errors.As(err, &exit) && exit.ExitCode() == 1) { // 1: a scenario failed
		t.Fatalf("the suite did not run: %v\n%s", err, stdout)
	}
	files, err := filepath.Glob(filepath.Join(out, "*", "checks.json"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Fatalf("the suite wrote no results:\n%s", stdout)
	}
	found := checks{}
	for _, file := range files {
		name := resultName.FindStringSubmatch(filepath.Base(filepath.Dir(file)))
		if name == nil {
			t.Fatalf("unexpected folder of results %s", file)
		}
		readChecks(t, file, name[1], found)
	}
	return found
}

func readChecks(t *testing.T, file, scenario string, into checks) {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []struct {
		ID string `json:"id"`
		outcome
	}
	if err := json.Unmarshal(data, &list); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	for _, check := range list {
		if badness[check.Status] == 0 {
			t.Fatalf("%s: unknown status %q of %s", file, check.Status, check.ID)
		}
		name := scenario + ":" + check.ID
		if badness[check.Status] > badness[into[name].Status] {
			into[name] = check.outcome
		}
	}
}

// compare fails the test for each difference that is not expected.
func compare(t *testing.T, direct, through checks, expected map[string]string) {
	t.Helper()
	for _, difference := range differs(direct, through, expected) {
		t.Error(difference)
	}
	for _, name := range slices.Sorted(maps.Keys(through)) {
		if scenario, _, _ := strings.Cut(name, ":"); listed(expected, name, scenario) != "" && through[name].Status != "SUCCESS" {
			t.Logf("expected: %s: %s %s", name, through[name].Status, through[name].Message)
		}
	}
	passed := 0
	for _, got := range through {
		if got.Status == "SUCCESS" {
			passed++
		}
	}
	t.Logf("%d checks pass through the gateway, %d entries of expected failures", passed, len(expected))
}

// differs names each check that the server passes and the gateway loses,
// unless it is expected, and each expectation that is not needed.
func differs(direct, through checks, expected map[string]string) []string {
	var out []string
	needed := map[string]bool{}
	judge := func(name, was string) {
		got, ran := through[name]
		if !ran {
			got.Status = "not run"
		}
		if got.Status == "SUCCESS" {
			return
		}
		scenario, _, _ := strings.Cut(name, ":")
		if entry := listed(expected, name, scenario); entry != "" {
			needed[entry] = true
			return
		}
		out = append(out, fmt.Sprintf("%s: %s without the gateway, %s with it: %s", name, was, got.Status, got.Message))
	}
	for _, name := range slices.Sorted(maps.Keys(direct)) {
		if direct[name].Status == "SUCCESS" {
			judge(name, "passes")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(through)) {
		switch was, known := direct[name]; {
		case !known && through[name].Status == "FAILURE":
			judge(name, "not reported")
		case known && was.Status != "SUCCESS" && through[name].Status == was.Status:
			scenario, _, _ := strings.Cut(name, ":")
			needed[listed(expected, name, scenario)] = true // not the gateway's doing, so not stale either
		}
	}
	for _, entry := range slices.Sorted(maps.Keys(expected)) {
		if !needed[entry] {
			out = append(out, fmt.Sprintf("%s is listed as an expected failure (%s) but is none: remove the line", entry, expected[entry]))
		}
	}
	return out
}

// listed gives the entry that covers a check, or "".
func listed(expected map[string]string, name, scenario string) string {
	for _, entry := range []string{name, scenario} {
		if _, ok := expected[entry]; ok {
			return entry
		}
	}
	return ""
}

// expectedLine is an entry of the suite's baseline format with its reason.
var expectedLine = regexp.MustCompile(`^  - ([a-z0-9-]+(?::[A-Za-z0-9_$.-]+)?) +# (\S.*)$`)

// readExpected reads a list of expected failures: entry to reason.
func readExpected(t *testing.T, file string) map[string]string {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	expected := map[string]string{}
	for i, line := range strings.Split(string(data), "\n") {
		if line == "" || line == "server:" || strings.HasPrefix(line, "#") {
			continue
		}
		entry := expectedLine.FindStringSubmatch(line)
		if entry == nil {
			t.Fatalf("%s:%d: want \"  - scenario[:check-id] # reason\", got %q", file, i+1, line)
		}
		if _, twice := expected[entry[1]]; twice {
			t.Fatalf("%s:%d: %s is listed twice", file, i+1, entry[1])
		}
		expected[entry[1]] = entry[2]
	}
	return expected
}

// TestDiffers keeps the comparison honest: it must see what is lost, what is
// stale, and what only fails with the gateway.
func TestDiffers(t *testing.T) {
	t.Parallel()
	direct := checks{"a:x": {Status: "SUCCESS"}, "b:y": {Status: "FAILURE"}, "c:z": {Status: "SUCCESS"}}
	for _, c := range []struct {
		name     string
		through  checks
		expected map[string]string
		failed   bool
	}{
		{"same", direct, nil, false},
		{"lost", checks{"a:x": {Status: "FAILURE"}, "c:z": {Status: "SUCCESS"}}, nil, true},
		{"weaker", checks{"a:x": {Status: "WARNING"}, "c:z": {Status: "SUCCESS"}}, nil, true},
		{"not run", checks{"c:z": {Status: "SUCCESS"}}, nil, true},
		{"listed check", checks{"a:x": {Status: "FAILURE"}, "c:z": {Status: "SUCCESS"}}, map[string]string{"a:x": "reason"}, false},
		{"listed scenario", checks{"a:x": {Status: "FAILURE"}, "c:z": {Status: "SUCCESS"}}, map[string]string{"a": "reason"}, false},
		{"stale", direct, map[string]string{"a": "reason"}, true},
		{"new", checks{"a:x": {Status: "SUCCESS"}, "c:z": {Status: "SUCCESS"}, "a:n": {Status: "FAILURE"}}, nil, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			if got := differs(direct, c.through, c.expected); (len(got) > 0) != c.failed {
				t.Errorf("differences %q, want some: %t", got, c.failed)
			}
		})
	}
}
