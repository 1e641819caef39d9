package alerts

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"go.yaml.in/yaml/v4"
)

// Values are what an installation may want otherwise. What is left out is as by Defaults.
type Values struct {
	// Runbooks is the URL under which the runbooks are found, by the name of the alert.
	Runbooks string `yaml:"runbooks"`
	// By are the labels that tell one installation from another: nothing is summed over them.
	By []string `yaml:"by"`
	// Base is the window of the rates that are recorded.
	Base Duration `yaml:"base"`
	// Interval is the time between two evaluations; that of the Prometheus when left out.
	Interval Duration `yaml:"interval,omitempty"`
	// Labels are added to each alert.
	Labels map[string]string `yaml:"labels,omitempty"`
	// Ignore are the error types of tools that are the caller's doing, and no failure.
	Ignore []string `yaml:"ignore"`
	// Objectives are the shares of calls that are to succeed.
	Objectives Objectives `yaml:"objectives"`
	// Burn are the pairs of windows over which it is judged how fast an objective's budget is used up.
	Burn []Burn `yaml:"burn"`
	// Alerts are the settings of each alert, by its name.
	Alerts map[string]Setting `yaml:"alerts"`
}

// Objectives are the shares of calls that are to succeed.
type Objectives struct {
	// Server is that of all calls of a server, Tool that of the calls of one tool.
	Server float64 `yaml:"server"`
	Tool   float64 `yaml:"tool"`
	// Least is how many calls a window must have, the long one of a pair: of a few, one that fails or is slow says nothing.
	Least int `yaml:"least"`
	// Special are those of some servers and tools; the first that fits counts.
	Special []Objective `yaml:"special,omitempty"`
}

// Objective is the objective of some servers, or of some tools of theirs.
type Objective struct {
	// Server and Tool are names, where * stands for anything. Without a tool it is an objective of servers.
	Server string `yaml:"server"`
	Tool   string `yaml:"tool,omitempty"`
	// Success is the share of calls that is to succeed.
	Success float64 `yaml:"success"`
}

// Burn tells when a budget is used up too fast: over a long window, and over a short one still.
type Burn struct {
	Long  Duration `yaml:"long"`
	Short Duration `yaml:"short"`
	// Factor is how many times as fast as the budget allows.
	Factor float64 `yaml:"factor"`
	// Severity is that of the alert; For is how long it must be so.
	Severity string   `yaml:"severity"`
	For      Duration `yaml:"for"`
}

// Setting is what of an alert can be set. Empty fields are as by default.
type Setting struct {
	// Off leaves the alert out.
	Off bool `yaml:"off,omitempty"`
	// Severity is critical, warning or info.
	Severity string `yaml:"severity,omitempty"`
	// Threshold is in the unit of the alert.
	Threshold string `yaml:"threshold,omitempty"`
	// Least is the latency from which on ToolcribToolLatency looks at a tool at all.
	Least Duration `yaml:"least,omitempty"`
	// Failures are how many there must be in the window of ToolcribDiscovery and ToolcribTasks: one or two may be chance, however few
	// questions or tasks there are.
	Failures int `yaml:"failures,omitempty"`
	// Window is the time that is looked back on, For how long it must be so.
	Window Duration `yaml:"window,omitempty"`
	For    Duration `yaml:"for,omitempty"`
}

// Defaults are the values when none are given.
func Defaults() *Values {
	v := &Values{
		Runbooks: "https://github.com/toolcrib/toolcrib/blob/main/docs/runbooks",
		By:       []string{"job"},
		Base:     "5m",
		Ignore: []string{
			"-32600", "-32602", "bad_request", "canceled", "denied", "forbidden", "header_mismatch", "insufficient_scope", "invalid", "limited",
			"missing_capability", "not_found", "session_not_found", "unauthenticated", "unsupported_version",
		},
		Objectives: Objectives{
			Server: 0.995, Tool: 0.99, Least: 20,
		},
		Burn: []Burn{
			{Long: "1h", Short: "5m", Factor: 14.4, Severity: critical, For: "2m"},
			{Long: "6h", Short: "30m", Factor: 6, Severity: critical, For: "15m"},
			{Long: "1d", Short: "2h", Factor: 3, Severity: warning, For: "1h"},
			{Long: "3d", Short: "6h", Factor: 1, Severity: warning, For: "3h"},
		},
		Alerts: map[string]Setting{},
	}
	for i := range table {
		v.Alerts[table[i].name] = table[i].Setting
	}
	return v
}

// The severities: somebody is woken, somebody looks at it in working hours, nobody needs to.
const (
	critical = "critical"
	warning  = "warning"
	info     = "info"
)

// valuesMost bounds a file of values.
const valuesMost = 1 << 20

// Read reads a file of values. Its errors name each field that is wrong, and what it may be.
func Read(r io.Reader) (*Values, error) {
	text, err := io.ReadAll(io.LimitReader(r, valuesMost+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > valuesMost:
		return nil, fmt.Errorf("the values are over %d bytes", valuesMost)
	}
	v := Defaults()
	given := *v
	given.Alerts = nil
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&given); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	settings := given.Alerts
	given.Alerts = v.Alerts
	for name, s := range settings {
		if was, known := v.Alerts[name]; known {
			s = s.over(was)
		}
		given.Alerts[name] = s // one that is not known is told by check
	}
	return &given, given.check()
}

// over is the setting with what it leaves out taken from another one.
func (s Setting) over(was Setting) Setting {
	if s.Severity == "" {
		s.Severity = was.Severity
	}
	if s.Threshold == "" {
		s.Threshold = was.Threshold
	}
	if s.Least == "" {
		s.Least = was.Least
	}
	if s.Failures == 0 {
		s.Failures = was.Failures
	}
	if s.Window == "" {
		s.Window = was.Window
	}
	if s.For == "" {
		s.For = was.For
	}
	return s
}

// checker gathers what is wrong.
type checker struct{ problems []error }

func (k *checker) fail(field, format string, args ...any) {
	k.problems = append(k.problems, fmt.Errorf(field+": "+format, args...))
}

func (v *Values) check() error {
	k := &checker{}
	k.basics(v)
	k.objectives(&v.Objectives)
	if len(v.Burn) == 0 && !(v.Alerts[serverBurn].Off && v.Alerts[toolBurn].Off) {
		k.fail("burn", "has no windows, without which nothing tells of a budget; leave it out, or set alerts.%s.off and alerts.%s.off", serverBurn, toolBurn)
	}
	for i := range v.Burn {
		k.burn(fmt.Sprintf("burn[%d]", i), &v.Burn[i])
	}
	k.reachable(v)
	k.covered(v)
	for _, name := range slices.Sorted(maps.Keys(v.Alerts)) {
		k.setting(name, v.Alerts[name], v.shortest())
	}
	return errors.Join(k.problems...)
}

var (
	kindForm  = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
	labelForm = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)
	own       = []string{"alertname", "severity", "server", "tool", "le", "window"}
)

func (k *checker) basics(v *Values) {
	if u, err := url.Parse(v.Runbooks); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
		k.fail("runbooks", "%q is not an http(s) URL under which the runbooks are found", v.Runbooks)
	}
	k.plain("runbooks", v.Runbooks)
	for _, label := range v.By {
		if !labelForm.MatchString(label) || slices.Contains(own, label) {
			k.fail("by", "%q is not a label that tells installations apart, as job or namespace do", label)
		}
	}
	for _, label := range slices.Sorted(maps.Keys(v.Labels)) {
		if !labelForm.MatchString(label) || slices.Contains(own, label) {
			k.fail("labels", "%q cannot be given; a name has letters, digits and _, and is none of %s", label, strings.Join(own, ", "))
		}
		k.plain("labels."+label, v.Labels[label])
	}
	for _, kind := range v.Ignore {
		if !kindForm.MatchString(kind) {
			k.fail("ignore", "%q is not an error type, as -32602 or denied are", kind)
		}
	}
	k.window("base", v.Base, v.shortest())
	if v.Interval != "" {
		k.window("interval", v.Interval, 0)
	}
}

// plain tells of a text that Prometheus would take for a template: with what changes in it each evaluation would be another alert.
func (k *checker) plain(field, text string) {
	switch {
	case strings.Contains(text, "{{"):
		k.fail(field, "%.80q is a template; give a text without {{", text)
	case strings.ContainsFunc(text, unicode.IsControl):
		k.fail(field, "%.80q has a line feed or another control character; give a text of one line", text)
	}
}

// shortest is the least that a window may be: rates need several scrapes in it, which are as often as evaluations. Where those are as
// the Prometheus has them nobody knows how often that is.
func (v *Values) shortest() time.Duration {
	if t, err := v.Interval.parse(); err == nil {
		return scrapes * t
	}
	return time.Minute
}

// scrapes are how many there must be in a window.
const scrapes = 4

// window checks a time that is looked back on.
func (k *checker) window(field string, d Duration, least time.Duration) {
	switch t, err := d.parse(); {
	case err != nil:
		k.fail(field, "%w", err)
	case t == 0:
		k.fail(field, "%s looks back on nothing; give a time like 5m", d)
	case t < least:
		k.fail(field, "%s is too short for rates; give %s or more: %d times interval, or a minute without one", d, least, scrapes)
	}
}

func (k *checker) objectives(o *Objectives) {
	k.success("objectives.server", o.Server)
	k.success("objectives.tool", o.Tool)
	if o.Least < 0 {
		k.fail("objectives.least", "%d is below 0, which is for any number of calls", o.Least)
	}
	for i, s := range o.Special {
		field := fmt.Sprintf("objectives.special[%d]", i)
		if s.Server == "" {
			k.fail(field+".server", "is missing; name a server, or * for all")
		}
		k.success(field+".success", s.Success)
	}
}

func (k *checker) success(field string, share float64) {
	if !(share > 0 && share < 1) {
		k.fail(field, "%v is not a share of calls between 0 and 1, such as 0.995", share)
	}
}

func (k *checker) burn(field string, b *Burn) {
	k.window(field+".long", b.Long, 0)
	k.window(field+".short", b.Short, 0) // which covered holds against base
	k.hold(field+".for", b.For)
	k.severity(field+".severity", b.Severity)
	if !(b.Factor > 0) || math.IsInf(b.Factor, 0) {
		k.fail(field+".factor", "%v is not a number above 0", b.Factor)
	}
	long, err1 := b.Long.parse()
	short, err2 := b.Short.parse()
	if err1 == nil && err2 == nil && short >= long {
		k.fail(field+".short", "%s is not shorter than long, which is %s", b.Short, b.Long)
	}
}

// reachable tells of objectives that no number of failures would break fast enough: more calls than all cannot fail.
func (k *checker) reachable(v *Values) {
	all := map[string]float64{"objectives.server": v.Objectives.Server, "objectives.tool": v.Objectives.Tool}
	for i, s := range v.Objectives.Special {
		all[fmt.Sprintf("objectives.special[%d].success", i)] = s.Success
	}
	for _, field := range slices.Sorted(maps.Keys(all)) {
		for i, b := range v.Burn {
			if most := b.Factor * (1 - all[field]); most >= 1 {
				k.fail(field, "%v lets burn[%d] never fire: %v times what may fail is more than all calls; raise it, or lower the factor",
					all[field], i, b.Factor)
			}
		}
	}
}

// covered tells of windows that are shorter than what the rates in them are of: most of the time there would be none in them.
func (k *checker) covered(v *Values) {
	base, err := v.Base.parse()
	check := func(field string, window Duration) {
		if t, err2 := window.parse(); err == nil && err2 == nil && 0 < t && t < base {
			k.fail(field, "%s is shorter than base, which is %s", window, v.Base)
		}
	}
	check("alerts.ToolcribToolErrors.window", v.Alerts["ToolcribToolErrors"].Window)
	for i, b := range v.Burn {
		check(fmt.Sprintf("burn[%d].short", i), b.Short)
	}
}

func (k *checker) hold(field string, d Duration) {
	if _, err := d.parse(); err != nil {
		k.fail(field, "%w", err)
	}
}

func (k *checker) severity(field, s string) {
	if all := []string{critical, warning, info}; !slices.Contains(all, s) {
		k.fail(field, "%q is none of %s", s, strings.Join(all, ", "))
	}
}

func (k *checker) setting(name string, s Setting, shortest time.Duration) {
	field := "alerts." + name
	a := find(name)
	if a == nil {
		k.fail(field, "there is no such alert; there are %s", strings.Join(Names(), ", "))
		return
	}
	if a.burns { // they are in burn
		k.given(field, "severity", s.Severity, false)
		k.given(field, "for", string(s.For), false)
	} else {
		k.severity(field+".severity", s.Severity)
		k.hold(field+".for", s.For)
	}
	k.given(field, "window", string(s.Window), a.Window != "")
	k.given(field, "threshold", s.Threshold, a.unit != none)
	k.given(field, "least", string(s.Least), a.Least != "")
	if s.Failures != 0 {
		k.given(field, "failures", strconv.Itoa(s.Failures), a.Failures > 0)
	}
	if s.Failures < 0 {
		k.fail(field+".failures", "%d is below 1; give 1 for an alert of each failure", s.Failures)
	}
	if a.Least != "" {
		k.hold(field+".least", s.Least)
	}
	if a.Window != "" {
		k.window(field+".window", s.Window, shortest)
	}
	if a.unit != none {
		if _, err := a.unit.parse(s.Threshold); err != nil {
			k.fail(field+".threshold", "%w", err)
		}
	}
}

// given tells of a setting that an alert does not have.
func (k *checker) given(field, key, value string, has bool) {
	if value != "" && !has {
		k.fail(field+"."+key, "this alert has none")
	}
}

// unit is what a threshold is counted in.
type unit int

const (
	none    unit = iota
	share        // above 0, below 1
	factor       // above 1
	count        // 0 or more
	several      // 1 or more
	period       // a Duration above 0, seconds in expressions
)

// parse is a threshold as a number.
func (u unit) parse(text string) (float64, error) {
	if u == period {
		t, err := Duration(text).parse()
		if err == nil && t == 0 {
			err = fmt.Errorf("%s is no time; give one like 7d", text)
		}
		return t.Seconds(), err
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || math.IsNaN(n) || math.IsInf(n, 0):
		return 0, fmt.Errorf("%q is not a number", text)
	case u == share && (n <= 0 || n >= 1):
		return 0, fmt.Errorf("%s is not between 0 and 1; half a percent is 0.005", text)
	case u == factor && n <= 1:
		return 0, fmt.Errorf("%s is not above 1", text)
	case n < 0:
		return 0, fmt.Errorf("%s is below 0", text)
	case u == several && n < 1:
		return 0, fmt.Errorf("%s is below 1, which is an alert of each time; give 1 or more", text)
	}
	return n, nil
}

// YAML is the values as a file of values has them.
func (v *Values) YAML() ([]byte, error) { return encode(v) }
