package v1

import (
	"maps"
	"slices"
	"strconv"
	"strings"
)

// Log says what is logged, and how.
type Log struct {
	// Level is the lowest level that is logged.
	Level string `json:"level,omitempty" default:"info" enum:"debug,info,warn,error" env:"TOOLCRIB_LOG_LEVEL,LOG_LEVEL"`
	// Levels are the levels of single components, in place of level: app, audit,
	// calls, cluster, control, front, gateway, identity, limit, runner, telemetry
	// and upstream. What toolcrib log level sets goes before both until the gateway ends.
	Levels map[string]string `json:"levels,omitempty"`
	// Calls logs a line for each call, with how its time was spent: in the queue,
	// on starting an instance, at the server and in transport.
	Calls bool `json:"calls,omitempty" default:"false" env:"TOOLCRIB_LOG_CALLS"`
	// Principals says how the log names callers: by a hash, which is the same for
	// one caller in all lines and in toolcrib ps, by name, or not at all.
	Principals string `json:"principals,omitempty" default:"hash" enum:"hash,name,none"`
	// Bodies are calls of which the line shows what was sent and answered; the first
	// rule that fits a call counts, which is then logged also where calls is off. Left
	// out, no body is ever logged.
	Bodies []LogBodies `json:"bodies,omitempty" null:"refused"`
	// Format is text for people or json for machines. A change takes effect after
	// a restart.
	Format string `json:"format,omitempty" default:"text" enum:"text,json" env:"TOOLCRIB_LOG_FORMAT"`
}

// LogBodies has the log show bodies of some calls of tools, of at most 256Ki: without the values that audit.redact and the
// audit log's own list name, and without credentials that the gateway knows. Text in results is shown as it is.
type LogBodies struct {
	// Tools are the tools, by the name that they have at /mcp or by a pattern.
	Tools []string `json:"tools,omitzero" null:"refused" example:"search__*"`
	// Servers are the servers whose tools they are, by name or pattern. Left out,
	// all.
	Servers []string `json:"servers,omitzero" null:"refused"`
	// Arguments shows what the tools were called with; it or results is needed.
	Arguments bool `json:"arguments,omitempty" default:"false"`
	// Results shows what they answered, errors too.
	Results bool `json:"results,omitempty" default:"false"`
	// Most is how much of each is shown.
	Most Size `json:"most,omitzero" default:"2Ki" min:"16" max:"64Ki"`
}

// MaxLogBodies bounds log.bodies.
const MaxLogBodies = 100

// Fits tells whether the rule is for a tool, by its name at /mcp, of a server.
func (b *LogBodies) Fits(server, tool string) bool {
	like := func(patterns []string, text string) bool {
		return slices.ContainsFunc(patterns, func(p string) bool { return Like(p, text) })
	}
	return like(b.Tools, tool) && (b.Servers == nil || like(b.Servers, server))
}

// How the log names callers.
const (
	PrincipalsHash = "hash"
	PrincipalsName = "name"
	PrincipalsNone = "none"
)

// LogComponents are the parts whose levels can be set one by one. The line of each call is of the component calls.
func LogComponents() []string {
	return []string{"app", "audit", "calls", "cluster", "control", "front", "gateway", "identity", "limit", "runner", "telemetry", "upstream"}
}

// LogLevels are the levels, the most talkative first.
func LogLevels() []string { return []string{"debug", "info", "warn", "error"} }

// LogLevel is the one spelling of a level, or text as it is.
func LogLevel(text string) string {
	if text = strings.ToLower(text); text == "warning" {
		return "warn"
	}
	return text
}

func (l *Log) normalise() {
	l.Level, l.Format = LogLevel(l.Level), strings.ToLower(l.Format)
	for name, level := range l.Levels {
		l.Levels[name] = LogLevel(level)
	}
}

func (k *checker) log(l *Log) {
	for _, name := range slices.Sorted(maps.Keys(l.Levels)) {
		path := childPath("log.levels", name)
		if !slices.Contains(LogComponents(), name) {
			k.fail(path, "is no component; there are: %s", strings.Join(LogComponents(), ", "))
		} else if !slices.Contains(LogLevels(), l.Levels[name]) {
			k.fail(path, "%q is no level; there are: %s", clip(l.Levels[name]), strings.Join(LogLevels(), ", "))
		}
	}
	if len(l.Bodies) > MaxLogBodies {
		k.fail("log.bodies", "has %d rules; at most %d are allowed", len(l.Bodies), MaxLogBodies)
		return
	}
	for i := range l.Bodies {
		k.logBodies("log.bodies["+strconv.Itoa(i)+"]", &l.Bodies[i])
	}
}

func (k *checker) logBodies(path string, b *LogBodies) {
	if len(b.Tools) == 0 {
		k.fail(path+".tools", `is missing; name tools, or write ["*"] for all`)
	}
	if b.Servers != nil && len(b.Servers) == 0 {
		k.fail(path+".servers", "is empty, so that the rule would be for nothing; leave it out for all")
	}
	k.patterns(path+".tools", b.Tools)
	k.patterns(path+".servers", b.Servers)
	if !b.Arguments && !b.Results {
		k.fail(path, "shows nothing; set arguments or results to true")
	}
}
