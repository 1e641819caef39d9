// Command lone is a small MCP server over stdio that needs nobody: it tells who called it, answers byte for byte what it is
// told to, and misbehaves in the ways that real servers do. It is a program of its own, since thousands of them are started.
//
//	lone [-era modern|legacy|both] [-as behaviour] [-mark anything]
package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

func main() {
	era := flag.String("era", "both", "modern, legacy or both")
	as := flag.String("as", "", "how it misbehaves")
	flag.String("mark", "", "to be found by")
	flag.Parse()
	runtime.GOMAXPROCS(2)
	s := &server{
		era: *era, as: *as, out: bufio.NewWriter(os.Stdout),
		seen: seen{PID: os.Getpid(), Callers: map[string]int{}, Capabilities: map[string]int{}},
	}
	if misbehave := behaviours[*as]; misbehave != nil {
		misbehave(s)
	}
	s.serve(os.Stdin)
	if s.as == "deaf" || s.as == "closes" {
		forever()
	}
}

// forever does nothing for good, which the runtime takes for a deadlock unless a timer runs.
func forever() {
	for {
		time.Sleep(time.Hour)
	}
}

// server is the state of the process.
type server struct {
	era, as string

	mu  sync.Mutex // of out
	out *bufio.Writer

	knows sync.Mutex // of seen
	seen  seen
}

// seen is what the process tells of itself and of everyone that it was called by.
type seen struct {
	PID          int            `json:"pid"`
	Dir          string         `json:"dir"`
	Env          []string       `json:"env"`
	Args         []string       `json:"args"`
	Callers      map[string]int `json:"callers"`      // by the "as" of their arguments
	Capabilities map[string]int `json:"capabilities"` // that clients declared
}

type message struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params params          `json:"params"`
}

type params struct {
	Name         string                     `json:"name"`
	Arguments    json.RawMessage            `json:"arguments"`
	Capabilities json.RawMessage            `json:"capabilities"`
	Meta         map[string]json.RawMessage `json:"_meta"`
}

const (
	modernVersion = "2026-07-28"
	legacyVersion = "2025-11-25"
	prefix        = "io.modelcontextprotocol/"
)

func (s *server) serve(in io.Reader) {
	r := bufio.NewReaderSize(in, 64<<10)
	for {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(line, &m) != nil || m.Method == "" || len(m.ID) == 0 {
			continue
		}
		s.answer(&m)
	}
}

func (s *server) answer(m *message) {
	switch {
	case m.Method == "server/discover" && s.era != "legacy":
		s.result(m, `"ttlMs":60000,"cacheScope":"public","supportedVersions":["`+modernVersion+
			`"],"capabilities":{"tools":{}},"_meta":{"`+prefix+`serverInfo":{"name":"lone","version":"1"}}`)
	case m.Method == "initialize" && s.era != "modern":
		s.note(m.Params.Capabilities, "")
		s.line(`{"jsonrpc":"2.0","id":`, string(m.ID), `,"result":{"protocolVersion":"`+legacyVersion+
			`","capabilities":{"tools":{}},"serverInfo":{"name":"lone","version":"1"}}}`)
	case m.Method == "ping":
		s.line(`{"jsonrpc":"2.0","id":`, string(m.ID), `,"result":{}}`)
	case m.Method == "tools/list":
		s.result(m, `"ttlMs":60000,"cacheScope":"public","tools":[`+toolList()+`]`)
	case m.Method == "tools/call" && tools[m.Params.Name] != nil:
		s.call(m)
	default:
		s.line(`{"jsonrpc":"2.0","id":`, string(m.ID), `,"error":{"code":-32601,"message":"no such method"}}`)
	}
}

// call answers a call in the way that the server has.
func (s *server) call(m *message) {
	if misbehave := onCall[s.as]; misbehave != nil && misbehave(s, m) {
		return
	}
	go tools[m.Params.Name](s, m)
}

// result answers with raw members of a result.
func (s *server) result(m *message, members ...string) {
	s.line(append(append([]string{`{"jsonrpc":"2.0","id":`, string(m.ID), `,"result":{"resultType":"complete",`}, members...), "}}")...)
}

func (s *server) line(parts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range parts {
		_, _ = s.out.WriteString(p) // an error stays until Flush
	}
	_ = s.out.WriteByte('\n')
	if s.out.Flush() != nil {
		return // the program in front is gone
	}
}

// note keeps who called, and what it said that it can do.
func (s *server) note(capabilities json.RawMessage, caller string) {
	s.knows.Lock()
	defer s.knows.Unlock()
	if len(capabilities) > 0 {
		s.seen.Capabilities[string(capabilities)]++
	}
	if caller != "" {
		s.seen.Callers[caller]++
	}
}

// tools are what can be called.
var tools = map[string]func(*server, *message){
	"echo": func(s *server, m *message) {
		s.result(m, `"content":[{"type":"text","text":"done"}],"structuredContent":`, string(m.Params.Arguments))
	},
	"who":    (*server).who,
	"big":    (*server).big,
	"sleep":  (*server).sleep,
	"flee":   (*server).flee,
	"bomb":   (*server).bomb,
	"hog":    (*server).hog,
	"litter": (*server).litter,
}

func toolList() string {
	names := make([]string, 0, len(tools))
	for name := range tools {
		names = append(names, `{"name":"`+name+`","inputSchema":{"type":"object"}}`)
	}
	slices.Sort(names)
	return strings.Join(names, ",")
}

type arguments struct {
	As string `json:"as"` // who calls
	N  int    `json:"n"`
}

func (m *message) args() arguments {
	var a arguments
	_ = json.Unmarshal(m.Params.Arguments, &a) // what cannot be read is zero
	return a
}

// text answers with a text of any characters.
func (s *server) text(m *message, text string) {
	b, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	s.result(m, `"content":[{"type":"text","text":`, string(b), `}]`)
}

// who tells what the process is, and of everybody that called it up to now.
func (s *server) who(m *message) {
	s.note(m.Params.Meta[prefix+"clientCapabilities"], m.args().As)
	s.knows.Lock()
	all := s.seen
	all.Dir, _ = os.Getwd()
	all.Env, all.Args = os.Environ(), os.Args[1:]
	b, err := json.Marshal(all)
	s.knows.Unlock()
	if err != nil {
		panic(err)
	}
	s.text(m, string(b))
}

// big answers with n bytes.
func (s *server) big(m *message) {
	s.result(m, `"content":[{"type":"text","text":"`, strings.Repeat("0123456789abcdef", m.args().N/16), `"}]`)
}

// sleep answers after n milliseconds.
func (s *server) sleep(m *message) {
	time.Sleep(time.Duration(m.args().N) * time.Millisecond)
	s.text(m, "slept")
}

// flee starts a descendant in a session of its own, as daemons do, and a child of that.
func (s *server) flee(m *message) {
	cmd := again("flee")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		s.text(m, err.Error())
		return
	}
	s.text(m, fmt.Sprint(cmd.Process.Pid))
}

// bomb starts a process that starts three, each of which starts three, and so on.
func (s *server) bomb(m *message) {
	if err := again("bomb").Start(); err != nil {
		s.text(m, err.Error())
		return
	}
	time.Sleep(time.Duration(m.args().N) * time.Millisecond)
	s.text(m, "done")
}

// litter has a process start another, which is nobody's when the first has ended.
func (s *server) litter(m *message) {
	if err := again("litter").Run(); err != nil {
		s.text(m, err.Error())
		return
	}
	s.text(m, "done")
}

// hog takes n MiB of memory and touches it, no faster than a busy gateway looks.
func (s *server) hog(m *message) {
	all := make([][]byte, 0, m.args().N)
	for range m.args().N {
		all = append(all, bytes.Repeat([]byte{1}, 1<<20))
		time.Sleep(8 * time.Millisecond)
	}
	s.text(m, fmt.Sprint("no limit at ", len(all)))
}

// behaviours are what a server does from its start.
var behaviours = map[string]func(*server){
	"exits": func(*server) {
		fmt.Fprintln(os.Stderr, "out of cheese")
		os.Exit(3)
	},
	"mute":   func(*server) { forever() },
	"closes": stubborn,
	"deaf":   stubborn,
	"half":   func(*server) { go forever() },
	"stderr": func(*server) {
		go flood(func(b []byte) { _, _ = os.Stderr.Write(b) })
	},
	"stdout": func(s *server) {
		go flood(func(b []byte) {
			s.mu.Lock()
			defer s.mu.Unlock()
			_, _ = os.Stdout.Write(b)
		})
	},
	"flee": func(*server) { // the daemon
		if err := again("fled").Start(); err != nil {
			panic(err)
		}
		forever()
	},
	"fled": func(*server) { forever() },
	"bomb": func(*server) {
		const depth = 6 // 364 processes in all: a system without limits gets over it
		for range 3 {
			if strings.Count(strings.Join(os.Args, " "), "bomb") < depth && again("bomb").Start() != nil {
				break
			}
		}
		time.Sleep(20 * time.Second)
		os.Exit(0)
	},
	"litter": func(*server) {
		if err := again("rubbish").Start(); err != nil {
			panic(err)
		}
		os.Exit(0)
	},
	"rubbish": func(*server) { os.Exit(0) },
}

func stubborn(*server) { signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP) }

// flood writes at full speed.
func flood(write func([]byte)) {
	noise := bytes.Repeat([]byte("listening for work; nothing to see here\n"), 200)
	for {
		write(noise)
	}
}

// onCall are what a server does when it is called; true for a call that gets no answer besides.
var onCall = map[string]func(*server, *message) bool{
	"closes": func(*server, *message) bool {
		_ = os.Stdout.Close()
		return true
	},
	"half": func(s *server, m *message) bool {
		s.mu.Lock() // for good: nothing else is said
		_, _ = os.Stdout.WriteString(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"content":[`)
		return true
	},
	"glued": func(s *server, m *message) bool {
		if m.Params.Name == "echo" {
			return false
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _ = os.Stdout.WriteString(`{"jsonrpc":"2.0","id":` + string(m.ID) + `,"result":{"content":[{"type":"text","text":"a\"b`)
		return true
	},
	"prompts": func(s *server, _ *message) bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		_, _ = os.Stdout.WriteString(`working {50%} "> `)
		return false
	},
	"stranger": func(s *server, _ *message) bool {
		for _, id := range []string{`"nobody"`, "123456789", "-1", "null", `{"id":1}`, "1.5"} {
			s.line(`{"jsonrpc":"2.0","id":`, id, `,"result":{"content":[]}}`)
		}
		return false
	},
	"twice": func(s *server, m *message) bool {
		tools[m.Params.Name](s, m)
		return false
	},
	"chatty": func(s *server, _ *message) bool {
		s.line("Server running on stdio\n\n{}\n[]\n{\"jsonrpc\":\"2.0\"}\n\x1b[32mGET /\x1b[0m\r\n\xff\xfe")
		return false
	},
}
