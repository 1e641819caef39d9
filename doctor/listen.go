package doctor

import (
	"context"
	"encoding/hex"
	"errors"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/toolcrib/toolcrib/control"
)

// listening looks whether the address can be listened on, or who does already.
func listening(ctx context.Context, p *patient, n *notes) {
	const remedy = "set listen (TOOLCRIB_LISTEN) to another address"
	address := p.config.Listen
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		return // which configuration tells
	}
	ln, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
	switch {
	case err == nil:
		_ = ln.Close()
		n.pass("", "%s is free", address)
	case errors.Is(err, syscall.EADDRINUSE):
		p.taken(ctx, n, address, port)
	case errors.Is(err, syscall.EACCES):
		n.fail(address, "set listen to a port from 1024 on, or give the program the capability CAP_NET_BIND_SERVICE", "this user may not listen on port %s", port)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		n.fail(address, "set listen (TOOLCRIB_LISTEN) to an address of this machine, or to 0.0.0.0:"+port, "is no address of this machine")
	default:
		n.fail(address, remedy, "cannot be listened on: %v", err)
	}
}

// taken tells who listens on an address.
func (p *patient) taken(ctx context.Context, n *notes, address, port string) {
	found, err := control.Find(ctx, p.stateDir)
	if err == nil {
		defer release(found)
	}
	for _, c := range found {
		if u, err := url.Parse(c.Report.URL); err == nil && u.Port() == port {
			n.pass("", "%s is served by the gateway that runs here (process %d)", address, c.Report.PID)
			return
		}
	}
	n.fail(address, "end it, or set listen (TOOLCRIB_LISTEN) to another address", "is taken by %s", p.holder(port))
}

func release(all []*control.Client) {
	for _, c := range all {
		c.Close()
	}
}

// holder names the process that listens on a port, as far as this user may know it.
func (p *patient) holder(port string) string {
	inodes := map[string]bool{}
	for _, name := range []string{"proc/net/tcp", "proc/net/tcp6"} {
		text, _ := os.ReadFile(filepath.Join(p.root, name))
		for line := range strings.Lines(string(text)) {
			if inode, ok := listener(line, port); ok {
				inodes["socket:["+inode+"]"] = true
			}
		}
	}
	links, _ := filepath.Glob(filepath.Join(p.root, "proc/[0-9]*/fd/*"))
	for _, link := range links {
		to, err := os.Readlink(link)
		if err != nil || !inodes[to] {
			continue
		}
		process := filepath.Dir(filepath.Dir(link))
		name, _ := os.ReadFile(filepath.Join(process, "comm"))
		return "process " + filepath.Base(process) + " (" + strings.TrimSpace(string(name)) + ")"
	}
	return "another process"
}

// listener is the inode of a socket that listens on a port, from a line of /proc/net/tcp.
func listener(line, port string) (inode string, ok bool) {
	const local, state, number, listens = 1, 3, 9, "0A"
	fields := strings.Fields(line)
	if len(fields) <= number || fields[state] != listens {
		return "", false
	}
	_, at, _ := strings.Cut(fields[local], ":")
	b, err := hex.DecodeString(at)
	if err != nil || len(b) != 2 || strconv.Itoa(int(b[0])<<8|int(b[1])) != port {
		return "", false
	}
	return fields[number], true
}
