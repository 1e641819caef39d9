package v1

import "cmp"

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
