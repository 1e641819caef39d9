package testenv

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
)

const metaPrefix = "io.modelcontextprotocol/"

// refusal is how a message is refused; the zero refusal takes it.
type refusal struct {
	status, code int
	breach       string // the rule that was broken, for which the test fails
}

// obeys holds a message to the rules of the server's era. What breaks them fails the test, since only the gateway speaks to
// the server; but a server may be asked in the other era to find out which it speaks, or since it was of that era before.
func (s *Server) obeys(r *Record, c *Call) bool {
	no := s.judge(r, c)
	if no.breach != "" {
		s.t.Errorf("a %s server got a message that breaks the rules: %s\n%v\n%.2000s", s.Era(), no.breach, r.Header, r.Body)
	}
	if no.code == 0 {
		return true
	}
	id := r.ID
	if id == "" || no.status == http.StatusNotFound {
		id = "null"
	}
	body := fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":"refused: %s"}}`, id, no.code, no.breach)
	if c.HTTP != nil {
		c.HTTP.Status(no.status, "application/json", body)
	} else if r.ID != "" {
		c.Send(body)
	}
	return false
}

func (s *Server) judge(r *Record, c *Call) refusal {
	if s.Era() == Modern {
		switch {
		case r.Method == "initialize" || r.Method == "notifications/initialized":
			return refusal{http.StatusBadRequest, -32022, ""}
		case s.changed.Load() && r.Header.Get("Mcp-Session-Id") != "":
			return refusal{http.StatusBadRequest, -32022, ""}
		case r.ID != "":
			if why := modernFault(r); why != "" {
				return refusal{http.StatusBadRequest, -32020, why}
			}
		}
		return refusal{}
	}
	initialized, known := s.session(r, c) // asked once: it can end meanwhile
	switch {
	case r.Method == "server/discover":
		return refusal{http.StatusBadRequest, -32601, ""}
	case r.Header != nil && !s.script.Sessionless && r.Method != "initialize" && !known:
		return refusal{http.StatusNotFound, -32001, ""}
	}
	if why := s.legacyFault(r, initialized); why != "" {
		return refusal{http.StatusBadRequest, -32600, why}
	}
	return refusal{}
}

// session is how the session of a message stands.
func (s *Server) session(r *Record, c *Call) (initialized, known bool) {
	id := r.Header.Get("Mcp-Session-Id")
	if c.Child != nil {
		id = c.Child.key()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	initialized, known = s.sessions[id]
	return initialized, known
}

// modernFault is what is wrong with a modern request; empty for nothing.
func modernFault(r *Record) string {
	if r.Meta(metaPrefix+"protocolVersion") != `"`+ModernVersion+`"` {
		return "_meta has no or another protocolVersion"
	}
	if !strings.HasPrefix(r.Meta(metaPrefix+"clientCapabilities"), "{") {
		return "_meta has no clientCapabilities"
	}
	if r.Header == nil {
		return ""
	}
	if got := r.Header.Values("Mcp-Protocol-Version"); len(got) != 1 || got[0] != ModernVersion {
		return "header MCP-Protocol-Version is wrong"
	}
	if got := r.Header.Values("Mcp-Method"); len(got) != 1 || got[0] != r.Method {
		return "header Mcp-Method is not the method"
	}
	if r.Header.Get("Mcp-Session-Id") != "" {
		return "a modern request with a session"
	}
	return nameFault(r)
}

func nameFault(r *Record) string {
	key := map[string]string{
		"tools/call": "name", "prompts/get": "name", "resources/read": "uri",
		"tasks/get": "taskId", "tasks/update": "taskId", "tasks/cancel": "taskId",
	}[r.Method]
	if key == "" {
		return ""
	}
	var want string
	if err := json.Unmarshal([]byte(r.Param(key)), &want); err != nil {
		return "params." + key + " is no string"
	}
	got := r.Header.Values("Mcp-Name")
	if len(got) != 1 {
		return "header Mcp-Name is not there once"
	}
	text := got[0]
	if in, ok := strings.CutPrefix(text, "=?base64?"); ok {
		b, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(in, "?="))
		if err != nil {
			return "header Mcp-Name is no Base64"
		}
		text = string(b)
	}
	if text != want {
		return "header Mcp-Name is not params." + key
	}
	return ""
}

// legacyFault is what is wrong with a legacy message; empty for nothing.
func (s *Server) legacyFault(r *Record, initialized bool) string {
	for _, key := range []string{"protocolVersion", "clientCapabilities", "clientInfo", "logLevel"} {
		if r.Meta(metaPrefix+key) != "" {
			return "_meta has " + key + " of the modern era"
		}
	}
	if r.Method == "initialize" || strings.HasPrefix(r.Method, "notifications/") {
		return ""
	}
	if !initialized && !s.script.Sessionless && r.Method != "ping" && r.Method != "" {
		return "request before notifications/initialized"
	}
	if r.Header != nil && s.script.Version == "" && r.Header.Get("Mcp-Protocol-Version") != LegacyVersion {
		return "header MCP-Protocol-Version is wrong"
	}
	return ""
}
