package v1

import (
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// fallback checks what stands in for a server.
func (k *checker) fallback(c *Config, path, name string) {
	f := &c.MCPServers[name].Fallback
	if to := f.Server; to != "" {
		switch other := c.MCPServers[to]; {
		case to == name:
			k.fail(path+".fallback.server", "is the server itself; name another one")
		case other == nil || other.Disabled:
			k.fail(path+".fallback.server", "%q is no server of this configuration, or disabled; name one that is", clip(to))
		}
	}
	if n := len(f.Message); n > fallbackMessageMost || !utf8.ValidString(f.Message) {
		k.fail(path+".fallback.message", "has %d bytes or is no text; at most %d bytes of UTF-8 are told", n, fallbackMessageMost)
	}
}

const fallbackMessageMost = 4096

// timeouts checks the time limits that may be 0s.
func (k *checker) timeouts(path string, s *Server) {
	if d := s.Hedge; d != 0 && d < Duration(time.Millisecond) {
		k.fail(path+".hedge", "%v is out of bounds; the minimum is 1ms, and 0s never hedges", d)
	}
	k.patience(path+".timeouts.firstByte", s.Timeouts.FirstByte)
	k.patience(path+".timeouts.total", s.Timeouts.Total)
	for _, tool := range slices.Sorted(maps.Keys(s.Tools)) {
		t, child := s.Tools[tool].Timeouts, childPath(path+".tools", tool)+".timeouts"
		k.patience(child+".idle", t.Idle)
		k.patience(child+".firstByte", t.FirstByte)
		k.patience(child+".total", t.Total)
	}
}

func (k *checker) patience(path string, d Duration) {
	if d != 0 && d < Duration(time.Millisecond) {
		k.fail(path, "%v is out of bounds; the minimum is 1ms, and 0s sets no limit here", d)
	}
}

// ToolTimeout is a time limit of a tool, and the key under tools that it is of; the zero one leaves it to the server's.
type ToolTimeout struct {
	Limit Duration
	Of    string
}

// ToolTimeouts are the time limits of a tool, by the server's own name for it,
// where they are not the server's: those of the settings of the tool, else of
// the longest pattern that fits, one by one.
func (s *Server) ToolTimeouts(tool string) (idle, firstByte, total ToolTimeout) {
	for _, of := range s.settingsOf(tool) {
		t := s.Tools[of].Timeouts
		idle.or(t.Idle, of)
		firstByte.or(t.FirstByte, of)
		total.or(t.Total, of)
	}
	return idle, firstByte, total
}

func (t *ToolTimeout) or(limit Duration, of string) {
	if t.Limit == 0 && limit != 0 {
		*t = ToolTimeout{limit, of}
	}
}

// settingsOf are the keys of the settings that a tool has, those that count most first.
func (s *Server) settingsOf(tool string) []string {
	var fit []string
	for pattern := range s.Tools {
		if pattern == tool || IsPattern(pattern) && Like(pattern, tool) {
			fit = append(fit, pattern)
		}
	}
	slices.SortFunc(fit, func(a, b string) int {
		switch {
		case a == tool:
			return -1
		case b == tool:
			return 1
		case len(a) != len(b):
			return len(b) - len(a)
		case a < b:
			return -1
		}
		return 1
	})
	return fit
}
