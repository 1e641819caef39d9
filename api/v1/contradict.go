package v1

import "fmt"

// contradictions warns of keys that others leave without effect.
func (d *decoder) contradictions(c *Config) {
	_, entry := d.lines["cache.entry"]
	if entry && c.Cache.Size > 0 && c.Cache.Entry > c.Cache.Size {
		d.warn(d.lines["cache.entry"], "cache.entry", fmt.Sprintf("is %v, more than cache.size, which is %v for all answers together", c.Cache.Entry, c.Cache.Size))
	}
	for _, name := range c.ServerNames() {
		s, path := c.MCPServers[name], childPath("mcpServers", name)
		d.unkept(c, path, s)
		t := &s.Timeouts
		d.outlasted(path+".timeouts", map[string]Duration{"connect": t.Connect, "firstByte": t.FirstByte, "idle": t.Idle}, t.Total, "timeouts.total")
		for tool, settings := range s.Tools {
			t := &settings.Timeouts
			_, _, own := s.ToolTimeouts(tool)
			total, of := own.Limit, "the tool's total"
			if total == 0 {
				total, of = s.Timeouts.Total, "timeouts.total of its server"
			}
			at := childPath(path+".tools", tool) + ".timeouts"
			d.outlasted(at, map[string]Duration{"firstByte": t.FirstByte, "idle": t.Idle}, total, of)
		}
		if s.Balance.Away == 0 && c.Zone != "" && len(s.URLs) > 0 && !s.within(c.Zone) {
			at := path + ".balance.away"
			d.warn(d.lineOf(at), at, fmt.Sprintf("is 0, but no entry of urls is in %q, the zone of this replica", clip(c.Zone)))
		}
	}
}

// within tells whether an instance is in a zone.
func (s *Server) within(zone string) bool {
	for _, in := range s.URLs {
		if in.Zone == zone {
			return true
		}
	}
	return false
}

// outlasted warns of time limits that were given and that end after total does.
func (d *decoder) outlasted(path string, limits map[string]Duration, total Duration, of string) {
	if total == 0 {
		return
	}
	for key, limit := range limits {
		at := path + "." + key
		if line, given := d.lines[at]; given && limit > total {
			d.warn(line, at, fmt.Sprintf("is %v, longer than %s, which is %v and ends the request before", limit, of, total))
		}
	}
}

// unkept warns of what is to be kept of a server of which nothing is kept.
func (d *decoder) unkept(c *Config, path string, s *Server) {
	because := "cache.size is 0"
	if s.Cache.Disabled {
		because = "its cache is disabled"
	}
	if !s.Cache.Disabled && c.Cache.Size > 0 {
		return
	}
	if s.Fallback.Stale > 0 {
		d.warn(d.lineOf(path+".fallback.stale"), path+".fallback.stale", "has no effect, since "+because+", so that no answer is kept")
	}
	if s.CachesTools() {
		d.warn(d.lineOf(path+".tools"), path+".tools", "says how long results are kept, but "+because+", so that none is")
	}
}
