package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// The protocol versions the benchmark speaks, one for each era.
const (
	modernVersion = "2026-07-28"
	legacyVersion = "2025-11-25"
)

// era is the dialect of a client or a server.
type era string

const (
	modern era = "modern"
	legacy era = "legacy"
)

// server is one cheap MCP server: its answers are made once, and a call only
// appends bytes.
type server struct {
	era   era
	tells bool   // of changes of its list
	slows bool   // it can be slow
	list  []byte // the result of tools/list
	calls atomic.Int64
}

const (
	serverMeta = `"_meta":{"io.modelcontextprotocol/serverInfo":{"name":"bench","version":"1.0.0"}}`
	maxPayload = 4 << 20
	maxSleep   = 10 * time.Second
)

// newServer makes a server of so many tools: echo, payload, sleep, and the
// rest made up, each about as long as tools of real servers are.
func newServer(e era, tools int) *server {
	list := make([]string, 0, tools)
	names := toolNames(tools)
	add := func(name, about, properties string) {
		if len(list) < tools {
			list = append(list, fmt.Sprintf(`{"name":%q,"description":%q,"inputSchema":{"type":"object","properties":{%s}}}`, name, about, properties))
		}
	}
	add("echo", "Returns its argument.", `"text":{"type":"string"}`)
	add("payload", "Returns that many bytes of text.", `"bytes":{"type":"integer"}`)
	add("sleep", "Answers after a while.", `"ms":{"type":"integer"}`)
	for i := len(list); i < tools; i++ {
		add(names[i],
			fmt.Sprintf("Looks up records of table %d by key, filters them by an expression and returns one page of what is left.", i),
			`"key":{"type":"string","description":"the key to look up"},"limit":{"type":"integer","description":"how many records to return at most","minimum":1,"maximum":500},"filter":{"type":"string","description":"an expression that records must match"}`)
	}
	s := &server{era: e}
	joined := strings.Join(list, ",")
	if e == modern {
		s.list = []byte(`{"resultType":"complete","tools":[` + joined + `],"ttlMs":3600000,"cacheScope":"public",` + serverMeta + `}`)
	} else {
		s.list = []byte(`{"tools":[` + joined + `]}`)
	}
	return s
}

// toolNames are the names of a server's tools.
func toolNames(tools int) []string {
	names := []string{string(opEcho), string(opPayload), string(opSleep)}
	for i := len(names); i < tools; i++ {
		names = append(names, fmt.Sprintf("lookup_%04d", i))
	}
	return names[:tools]
}

// message is what a server reads of a JSON-RPC message.
type message struct{ id, method, name, version, text, bytes, ms, result []byte }

func readMessage(body []byte, m *message) bool {
	*m = message{}
	var params, arguments []byte
	ok := members(body, func(k, v []byte) {
		switch string(k) {
		case "id":
			m.id = v
		case "method":
			m.method = content(v)
		case "params":
			params = v
		case "result":
			m.result = v
		}
	})
	members(params, func(k, v []byte) {
		switch string(k) {
		case "name":
			m.name = content(v)
		case "arguments":
			arguments = v
		case "protocolVersion":
			m.version = content(v)
		}
	})
	members(arguments, func(k, v []byte) {
		switch string(k) {
		case "text":
			m.text = content(v)
		case "bytes":
			m.bytes = v
		case "ms":
			m.ms = v
		}
	})
	return ok
}

// fault is an error answer; status is its HTTP status.
type fault struct {
	status, code int
	text         string
}

// answer appends the answer to a request; wait is how long it takes.
func (s *server) answer(dst []byte, m *message) (out []byte, status int, wait time.Duration) {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	dst = append(dst, m.id...)
	before := len(dst)
	dst = append(dst, `,"result":`...)
	dst, wait, bad := s.result(dst, m)
	if bad == nil {
		return append(dst, '}'), 200, wait
	}
	return fmt.Appendf(dst[:before], `,"error":{"code":%d,"message":%q}}`, bad.code, bad.text), bad.status, 0
}

func (s *server) result(dst []byte, m *message) ([]byte, time.Duration, *fault) {
	switch string(m.method) {
	case "tools/call":
		s.calls.Add(1)
		return s.call(dst, m)
	case "tools/list":
		return append(dst, s.list...), 0, nil
	case "ping":
		if s.era == legacy {
			return append(dst, "{}"...), 0, nil
		}
	case "initialize":
		if s.era == legacy {
			return fmt.Appendf(dst, `{"protocolVersion":%q,"capabilities":{"tools":{}},"serverInfo":{"name":"bench","version":"1.0.0"}}`, negotiated(m.version)), 0, nil
		}
		return dst, 0, &fault{400, -32022, "this server speaks " + modernVersion}
	case "server/discover":
		if s.era == modern {
			return fmt.Appendf(dst, `{"resultType":"complete","supportedVersions":[%q],"capabilities":{"tools":{"listChanged":%t}},"ttlMs":3600000,"cacheScope":"public",%s}`,
				modernVersion, s.tells, serverMeta), 0, nil
		}
	}
	if s.era == modern {
		return dst, 0, &fault{404, -32601, "method not found"}
	}
	return dst, 0, &fault{200, -32601, "method not found"}
}

func negotiated(asked []byte) string {
	switch v := string(asked); v {
	case "2025-03-26", "2025-06-18":
		return v
	}
	return legacyVersion
}

func (s *server) call(dst []byte, m *message) ([]byte, time.Duration, *fault) {
	var wait time.Duration
	text := m.text
	switch {
	case string(m.name) == "echo", bytes.HasPrefix(m.name, []byte("lookup_")):
	case string(m.name) == "payload":
		text = filler(min(decimal(m.bytes), maxPayload))
	case string(m.name) == "sleep":
		wait = min(time.Duration(decimal(m.ms))*time.Millisecond, maxSleep)
	default:
		return dst, 0, &fault{200, -32602, "unknown tool"}
	}
	dst = append(dst, '{')
	if s.era == modern {
		dst = append(dst, `"resultType":"complete",`...)
	}
	dst = append(dst, `"content":[{"type":"text","text":"`...)
	dst = append(dst, text...)
	dst = append(dst, `"}],"isError":false`...)
	if s.era == modern {
		dst = append(dst, ","+serverMeta...)
	}
	return append(dst, '}'), wait, nil
}

// prose is text as tools return it, as it stands in JSON: lines, a quote now
// and then, a character beyond ASCII.
var prose = sync.OnceValue(func() string {
	const some = `The café at the corner opens at eight; its sign says \"come in\".\n` +
		`  - item 17 was moved to shelf 4 and nobody remembers why it had been there\n` +
		`  - item 18 stays where it is, until somebody asks for it (which may take long)\n`
	return strings.Repeat(some, 1+maxPayload/len(some))
})

var fillers sync.Map // of texts by length

// filler returns n bytes of prose that end where a JSON string may end.
func filler(n int) []byte {
	if have, ok := fillers.Load(n); ok {
		return have.([]byte)
	}
	made := makeFiller(n)
	if n >= 1024 { // a benchmark asks for few lengths
		fillers.Store(n, made)
	}
	return made
}

func makeFiller(n int) []byte {
	const end = "........"
	if n < len(end) {
		return []byte(end[:n])
	}
	out := append(make([]byte, 0, n), prose()[:n-len(end)]...)
	for i := len(out) - 1; i >= 0 && i >= len(out)-2 && (out[i] == '\\' || out[i] >= 0x80); i-- {
		out[i] = '.' // never the half of an escape or of a character
	}
	return append(out, end...)
}
