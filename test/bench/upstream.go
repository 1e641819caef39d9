package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxServers  = 1000
	maxSessions = 100_000
	statsPath   = "/__stats"
	changePath  = "/__change" // has all who listen told of a change
)

// stats is what reached the upstream so far.
type stats struct {
	Requests int64 `json:"requests"` // messages, of any method
	Conns    int64 `json:"conns"`    // connections that carried a message
	Sessions int64 `json:"sessions"` // legacy sessions open now
	Streams  int64 `json:"streams"`  // that listen now
}

// upstream is the cheap MCP server. The path picks one: /modern/10/mcp is a
// modern server of 10 tools, /legacy/100/b/mcp another of the legacy era.
type upstream struct {
	mu       sync.RWMutex
	servers  map[string]*server
	sessions map[string]struct{}
	streams  map[*exchange][]byte // that listen for changes, with what they are told
	asked    map[int64]*asked     // questions that wait for an answer, by their id
	lastID   int64                // of a question
	slow     atomic.Bool          // those servers that can be take very long
	requests atomic.Int64
	conns    atomic.Int64
}

func newUpstream() *upstream {
	return &upstream{
		servers: map[string]*server{}, sessions: map[string]struct{}{},
		streams: map[*exchange][]byte{}, asked: map[int64]*asked{},
	}
}

// upstreamMain is the upstream as a process of its own: it prints its address
// and serves until its standard input ends.
func upstreamMain(args []string) error {
	set := flag.NewFlagSet("upstream", flag.ContinueOnError)
	if err := set.Parse(args); err != nil {
		return err
	}
	runtime.GOMAXPROCS(1)
	debug.SetGCPercent(400)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	u := newUpstream()
	go u.serve(l)
	return announce(l.Addr().String())
}

// announce tells the parent process the address and waits for it to let go.
func announce(addr string) error {
	fmt.Println("ready", addr)
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

// serve answers on every connection of l, until l is closed.
func (u *upstream) serve(l net.Listener) {
	var all sync.WaitGroup
	defer all.Wait()
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		all.Go(func() {
			defer func() { _ = c.Close() }()
			e := &exchange{u: u, wire: newWire(c, 8<<10)}
			defer u.hangUp(e)
			for e.next() == nil {
			}
		})
	}
}

func (u *upstream) stats() stats {
	u.mu.RLock()
	defer u.mu.RUnlock()
	return stats{Requests: u.requests.Load(), Conns: u.conns.Load(), Sessions: int64(len(u.sessions)), Streams: int64(len(u.streams))}
}

// find returns the server of a path, made when it is asked for first.
func (u *upstream) find(path []byte) *server {
	u.mu.RLock()
	s := u.servers[string(path)]
	u.mu.RUnlock()
	if s != nil {
		return s
	}
	e, tools, name, ok := parsePath(string(path))
	u.mu.Lock()
	defer u.mu.Unlock()
	if s = u.servers[string(path)]; s != nil || !ok || len(u.servers) >= maxServers {
		return s
	}
	s = newServer(e, tools)
	s.tells, s.slows = e == modern && name == watchedName, name == slowName
	u.servers[string(path)] = s
	return s
}

func parsePath(path string) (e era, tools int, name string, ok bool) {
	parts := strings.Split(path, "/")
	if len(parts) < 4 || len(parts) > 5 || parts[0] != "" || parts[len(parts)-1] != "mcp" {
		return "", 0, "", false
	}
	tools, err := strconv.Atoi(parts[2])
	e = era(parts[1])
	if len(parts) == 5 {
		name = parts[3]
	}
	return e, tools, name, err == nil && tools >= 0 && tools <= 10_000 && (e == modern || e == legacy)
}

func (u *upstream) openSession() (string, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.sessions) >= maxSessions {
		return "", errors.New("too many sessions")
	}
	id := rand.Text()
	u.sessions[id] = struct{}{}
	return id, nil
}

func (u *upstream) hasSession(id []byte) bool {
	u.mu.RLock()
	defer u.mu.RUnlock()
	_, ok := u.sessions[string(id)]
	return ok
}

func (u *upstream) closeSession(id []byte) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	_, ok := u.sessions[string(id)]
	delete(u.sessions, string(id))
	return ok
}

// exchange is one connection of the upstream, and the request it is at. Its
// slices are kept from request to request.
type exchange struct {
	u      *upstream
	wire   *wire
	used   bool   // carried a message
	own    string // what is asked of the upstream itself; empty for nothing
	server *server
	verb   []byte
	length int
	// the headers that mirror the body, and the session
	version, method, name, session []byte
	bad                            string // what is wrong with the head
	msg                            message
	body, out                      []byte
}

// next reads one request and answers it.
func (e *exchange) next() error {
	head, err := e.wire.until(blankLine)
	if err != nil {
		return err
	}
	own := e.readHead(head)
	body, err := e.wire.take(e.length)
	if err != nil {
		return err
	}
	if own {
		e.u.turn(e.own)
		now, err := json.Marshal(e.u.stats())
		return errors.Join(err, e.write(200, "", now))
	}
	e.u.requests.Add(1)
	if !e.used {
		e.used = true
		e.u.conns.Add(1)
	}
	if e.server != nil && e.server.slows && e.u.slow.Load() {
		time.Sleep(slowTime)
	}
	return e.respond(body)
}

// turn does what is asked of the upstream itself.
func (u *upstream) turn(path string) {
	switch path {
	case changePath:
		u.tellChange()
	case slowPath, quickPath:
		u.slow.Store(path == slowPath)
	}
}

// readHead tells whether the request is for the upstream itself.
func (e *exchange) readHead(head []byte) (own bool) {
	verb, rest, _ := bytes.Cut(head, []byte(" "))
	path, _, _ := bytes.Cut(rest, []byte(" "))
	e.verb = append(e.verb[:0], verb...)
	e.length, e.bad, e.msg = 0, "", message{}
	e.version, e.method, e.name, e.session = e.version[:0], e.method[:0], e.name[:0], e.session[:0]
	eachHeader(head, e.header)
	switch string(path) {
	case statsPath, changePath, slowPath, quickPath:
		e.own = string(path)
		return true
	}
	if e.server = e.u.find(path); e.server == nil {
		e.bad = "no such server"
	}
	return false
}

func (e *exchange) header(name, value []byte) {
	switch {
	case named(name, "content-length"):
		e.length = decimal(value)
	case named(name, "transfer-encoding"):
		e.bad = "this server wants Content-Length"
	case named(name, "mcp-protocol-version"):
		e.version = append(e.version, value...)
	case named(name, "mcp-method"):
		e.method = append(e.method, value...)
	case named(name, "mcp-name"):
		e.name = append(e.name, value...)
	case named(name, "mcp-session-id"):
		e.session = append(e.session, value...)
	}
}

func (e *exchange) respond(body []byte) error {
	if e.bad != "" {
		return e.refuse(404, -32600, e.bad)
	}
	if string(e.verb) == "DELETE" && e.server.era == legacy {
		if !e.u.closeSession(e.session) {
			return e.refuse(404, -32600, "no such session")
		}
		return e.write(204, "", nil)
	}
	if string(e.verb) != "POST" {
		return e.refuse(405, -32600, "POST only")
	}
	if !readMessage(body, &e.msg) || len(e.msg.method) == 0 && !e.u.isAnswer(&e.msg) {
		return e.refuse(400, -32700, "not a request")
	}
	if status, code, text := e.check(); text != "" {
		return e.refuse(status, code, text)
	}
	switch {
	case e.msg.id == nil:
		return e.write(202, "", nil)
	case len(e.msg.method) == 0:
		e.u.answered(&e.msg)
		return e.write(202, "", nil)
	case e.server.era == legacy && string(e.msg.name) == string(opAsk):
		return e.ask()
	case e.server.tells && string(e.msg.method) == listenMethod:
		return e.listen()
	}
	return e.reply()
}

// check holds the request to the rules of its era, so that what stands before
// this server cannot be fast by leaving them out.
func (e *exchange) check() (status, code int, text string) {
	if e.server.era == modern {
		switch {
		case string(e.version) != modernVersion:
			return 400, -32020, "MCP-Protocol-Version is not " + modernVersion
		case !bytes.Equal(e.method, e.msg.method):
			return 400, -32020, "Mcp-Method is not the method"
		case string(e.msg.method) == "tools/call" && !bytes.Equal(e.name, e.msg.name):
			return 400, -32020, "Mcp-Name is not the name"
		}
		return 0, 0, ""
	}
	switch {
	case string(e.msg.method) == "initialize":
	case len(e.session) == 0:
		return 400, -32600, "Mcp-Session-Id is missing"
	case !e.u.hasSession(e.session):
		return 404, -32600, "no such session"
	}
	return 0, 0, ""
}

func (e *exchange) reply() error {
	var session string
	if e.server.era == legacy && string(e.msg.method) == "initialize" {
		var err error
		if session, err = e.u.openSession(); err != nil {
			return e.refuse(503, -32603, err.Error())
		}
	}
	var status int
	var wait time.Duration
	e.body, status, wait = e.server.answer(e.body[:0], &e.msg)
	if wait > 0 {
		time.Sleep(wait)
	}
	return e.write(status, session, e.body)
}

func (e *exchange) refuse(status, code int, text string) error {
	id := e.msg.id
	if id == nil {
		id = []byte("null")
	}
	e.body = fmt.Appendf(e.body[:0], `{"jsonrpc":"2.0","id":%s,"error":{"code":%d,"message":%q}}`, id, code, text)
	return e.write(status, "", e.body)
}

func (e *exchange) write(status int, session string, body []byte) error {
	e.out = append(e.out[:0], "HTTP/1.1 "...)
	e.out = strconv.AppendInt(e.out, int64(status), 10)
	e.out = append(e.out, " Answer\r\n"...)
	if session != "" {
		e.out = append(append(append(e.out, "Mcp-Session-Id: "...), session...), crlf...)
	}
	if status != 204 {
		if len(body) > 0 {
			e.out = append(e.out, "Content-Type: application/json\r\n"...)
		}
		e.out = append(e.out, "Content-Length: "...)
		e.out = strconv.AppendInt(e.out, int64(len(body)), 10)
		e.out = append(e.out, crlf...)
	}
	e.out = append(append(e.out, crlf...), body...)
	_, err := e.wire.conn.Write(e.out)
	return err
}
