package v1

import (
	"cmp"
	"maps"
	"slices"
	"unicode/utf8"
)

// MaxToolSettings is how many entries mcpServers.*.tools may hold.
const MaxToolSettings = 1000

// toolNameMost is how many characters a key of mcpServers.*.tools may have:
// more than MCP allows for names of tools (128), for servers do not all mind it.
const toolNameMost = 256

// The values of Config.Pin, Server.Pin and ToolSettings.Pin.
const (
	PinStrict = "strict"
	PinWarn   = "warn"
	PinOff    = "off"
)

// PinOf says what happens to a tool of a server whose definition is not as it
// was approved: the settings of the tool count before those of a pattern, the
// longest that fits, before the server's, before the configuration's.
func (c *Config) PinOf(server, tool string) string {
	s := c.MCPServers[server]
	if s == nil {
		return cmp.Or(c.Pin, PinOff)
	}
	best, pin := "", ""
	for pattern, settings := range s.Tools {
		switch {
		case settings.Pin == "":
		case pattern == tool:
			return settings.Pin
		case IsPattern(pattern) && Like(pattern, tool) && (len(pattern) > len(best) || len(pattern) == len(best) && pattern < best):
			best, pin = pattern, settings.Pin
		}
	}
	return cmp.Or(pin, s.Pin, c.Pin, PinOff)
}

// Pins tells whether definitions of a server's tools are looked at, and whether
// some that are not approved may be kept from callers.
func (c *Config) Pins(server string) (some, strict bool) {
	s := c.MCPServers[server]
	if s == nil {
		return false, false
	}
	pin := cmp.Or(s.Pin, c.Pin)
	some, strict = pin == PinStrict || pin == PinWarn, pin == PinStrict
	for _, settings := range s.Tools {
		some = some || settings.Pin == PinStrict || settings.Pin == PinWarn
		strict = strict || settings.Pin == PinStrict
	}
	return some, strict
}

// toolSettings checks the keys of mcpServers.*.tools.
func (k *checker) toolSettings(path string, s *Server) {
	if n := len(s.Tools); n > MaxToolSettings {
		k.fail(path, "has %d entries; at most %d are allowed; let patterns stand for several tools", n, MaxToolSettings)
		return
	}
	for _, pattern := range slices.Sorted(maps.Keys(s.Tools)) {
		child := childPath(path, pattern)
		switch n := utf8.RuneCountInString(pattern); {
		case pattern == "":
			k.fail(child, "is empty; write the server's own name of a tool or a pattern, or * for all")
		case n > toolNameMost:
			k.fail(child, "has %d characters; names and patterns have at most %d: write the beginning of the name, and * for the rest", n, toolNameMost)
		}
	}
}
