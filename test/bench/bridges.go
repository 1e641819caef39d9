package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// The bridges of others that make an HTTP service of a stdio server, as npm
// names them.
const (
	superGateway = "supergateway"
	mcpProxy     = "mcp-proxy"
)

var peerPins = []string{superGateway + "@4.0.0", mcpProxy + "@6.7.19"}

// bridge is a program in front of the cheap server's process.
type bridge struct {
	name string
	argv []string
	env  []string
}

// stdioArgv is the command line of the cheap server over stdio.
func (w *world) stdioArgv(e era) []string {
	self, _ := os.Executable() // crew.role has it for certain before
	return []string{self, "stdio", "-era", string(e), "-cpu", fmt.Sprint(w.loadCPU)}
}

// startRun is the gateway's short form, for one server.
func (w *world) startRun(e era) (*target, error) {
	if !w.canRun() {
		return nil, nil //nolint:nilnil // a target that is left out
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	argv := append([]string{w.gateway, "run", "--listen", addr, "--"}, w.stdioArgv(e)...)
	state := filepath.Join(w.dir, "run-"+string(e))
	return w.startBridge(bridge{"gateway run " + string(e), argv, []string{"TOOLCRIB_STATE_DIR=" + state, "LOG_LEVEL=warn"}}, addr, "/health/ready")
}

// startPeer starts a peer in front of a server of the legacy era, which is
// what both take; nil where it cannot be had.
func (w *world) startPeer(name string) (*target, error) {
	node, entry := w.peer(name)
	if entry == "" {
		return nil, nil //nolint:nilnil // a target that is left out
	}
	addr, err := freeAddress()
	if err != nil {
		return nil, err
	}
	hook := filepath.Join(w.dir, "loopback.cjs")
	if err := os.WriteFile(hook, []byte(onLoopback), 0o600); err != nil {
		return nil, err
	}
	port := addr[strings.LastIndexByte(addr, ':')+1:]
	server := w.stdioArgv(legacy)
	argv := []string{node, "--require", hook, entry}
	if name == superGateway { // a process for each session: without, it starts one for each request
		argv = append(argv, "--stdio", strings.Join(server, " "), "--outputTransport", "streamableHttp", "--stateful",
			"--port", port, "--healthEndpoint", "/ping", "--logLevel", "none")
	} else {
		argv = append(append(argv, "--host", "127.0.0.1", "--port", port, "--server", "stream", "--"), server...)
	}
	return w.startBridge(bridge{name, argv, nil}, addr, "/ping")
}

// onLoopback keeps a Node.js program that listens on every interface to one.
const onLoopback = `const { Server } = require('net');
const listen = Server.prototype.listen;
Server.prototype.listen = function (port, ...rest) {
  if (typeof port === 'number' && typeof rest[0] !== 'string') rest.unshift('127.0.0.1');
  return listen.call(this, port, ...rest);
};
`

func (w *world) startBridge(b bridge, addr, path string) (*target, error) {
	p, err := w.start(command{name: b.name, argv: b.argv, env: b.env, cpu: w.gwCPU})
	if err != nil {
		return nil, err
	}
	t := &target{addr: addr, proc: p}
	return t, t.await(path, 30*time.Second)
}

// canRun tells whether the gateway at hand has the command.
func (w *world) canRun() bool {
	said, err := exec.CommandContext(w.ctx, w.gateway, "run", "--help").CombinedOutput()
	if err != nil || !bytes.Contains(said, []byte("listen")) {
		w.note("the gateway has no command run: its rows are left out")
		return false
	}
	return true
}

// peer finds the program of a peer, installing both at the first call, and
// the Node.js to run it with.
func (w *world) peer(name string) (node, entry string) {
	if w.peers == "" {
		w.peers = "none"
		if err := w.installPeers(); err != nil {
			w.note("%s and %s are not installed, their rows are left out: %v", superGateway, mcpProxy, err)
		}
	}
	if w.peers == "none" {
		return "", ""
	}
	node, err := exec.LookPath("node")
	if err == nil {
		entry, err = filepath.EvalSymlinks(filepath.Join(w.peers, "node_modules", ".bin", name))
	}
	if err != nil {
		w.note("%s is left out: %v", name, err)
		return "", ""
	}
	return node, entry
}

func (w *world) installPeers() error {
	npm, err := exec.LookPath("npm")
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(w.ctx, 3*time.Minute)
	defer cancel()
	dir := filepath.Join(w.dir, "peers")
	if err := os.Mkdir(dir, 0o700); err != nil {
		return err
	}
	install := exec.CommandContext(ctx, npm, append([]string{"install", "--prefix", dir, "--ignore-scripts", "--no-audit", "--no-fund"}, peerPins...)...)
	install.Dir = dir
	if said, err := install.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %.500s", err, said)
	}
	w.peers = dir
	return nil
}
