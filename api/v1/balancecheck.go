package v1

import (
	"net"
	"net/url"
	"strconv"
	"strings"
)

// Values of Balance.
const (
	ByHeader  = "header"
	StateKept = "kept"
)

// MaxInstances bounds the instances of one server.
const MaxInstances = 64

// balanced refuses what concerns the instances of a server with a url where it has none, and checks it where it has.
func (k *checker) balanced(path string, s *Server) {
	if s.URL == "" {
		k.notBalanced(path, s)
		return
	}
	k.instances(path, s)
	k.resolved(path+".dns", s)
	k.spread(path+".balance", s)
	k.probed(path+".health.active", s)
	if c := s.Concurrency; c != nil && c.Adaptive && c.Least() > c.Max {
		k.fail(path+".concurrency.min", "%d is more than concurrency.max, which is %d", c.Least(), c.Max)
	}
}

// notBalanced refuses what only a server with a url can have.
func (k *checker) notBalanced(path string, s *Server) {
	var none Server
	none.SetDefaults()
	for _, remote := range []struct {
		key string
		set bool
	}{
		{"urls", len(s.URLs) > 0},
		{"dns", s.DNS != nil},
		{"balance", s.Balance != none.Balance},
		{"health", s.Health != none.Health},
		{"breaker", s.Breaker != nil},
		{"concurrency", s.Concurrency != nil},
	} {
		if remote.set {
			k.fail(path+"."+remote.key, "is for servers with a url; the instances of a command are those of pool")
		}
	}
}

func (k *checker) instances(path string, s *Server) {
	if len(s.URLs) == 0 {
		return
	}
	if s.URL != s.URLs[0].URL {
		k.fail(path, "has url and urls; list all instances under urls")
	}
	if n := len(s.URLs); n > MaxInstances {
		k.fail(path+".urls", "has %d instances; at most %d are allowed", n, MaxInstances)
		return
	}
	seen := map[string]int{}
	for i, in := range s.URLs {
		child := path + ".urls[" + strconv.Itoa(i) + "]"
		if callerRef.MatchString(in.URL) {
			k.fail(child, "refers to the caller, which only url may")
			continue
		}
		k.httpURL(child, in.URL)
		if other, ok := seen[in.URL]; ok {
			k.fail(child, "is the same as urls[%d]; remove it, and give the other one a weight", other)
		}
		seen[in.URL] = i
		k.label(child+".zone", in.Zone)
	}
}

func (k *checker) resolved(path string, s *Server) {
	d := s.DNS
	if d == nil {
		return
	}
	if len(s.URLs) > 0 {
		k.fail(path, "resolves the host of url; write url in place of urls")
	}
	host := d.Name
	if u, err := url.Parse(s.URL); host == "" && err == nil {
		host = u.Hostname()
	}
	if net.ParseIP(host) != nil {
		k.fail(path, "has an address to resolve, not a name; remove dns, or write a name as the host of url")
	}
	if d.Name != "" && !dnsName(d.Name) {
		k.fail(path+".name", "%q is not a name of DNS", clip(d.Name))
	}
	if d.Resolver == "" {
		return
	}
	if host, port, err := net.SplitHostPort(d.Resolver); err != nil || host == "" || port == "" || !validPort(port) {
		k.fail(path+".resolver", "%q is not host:port; write 127.0.0.1:53, for example", clip(d.Resolver))
	}
}

func dnsName(name string) bool {
	return len(name) <= 253 && !strings.ContainsFunc(name, func(r rune) bool { return r != '.' && !isNameRune(r) }) && !strings.Contains(name, "..")
}

// several tells whether a server may have more than one instance.
func (s *Server) several() bool { return len(s.URLs) > 0 || s.DNS != nil }

func (k *checker) spread(path string, s *Server) {
	b := s.Balance
	if !s.several() && (b.By == ByHeader || b.SlowStart != 0 || b.Away != 100) {
		k.fail(path, "spreads calls over instances, of which there is one; list them under urls, or add dns")
	}
	if b.State == StateKept && s.Type == TypeSSE {
		k.fail(path+".state", "is kept, but the stream of a server of type sse is its session, whose end nobody is told of; remove it")
	}
	switch {
	case b.By == ByHeader && b.Header == "":
		k.fail(path+".header", "is missing; name the header that by: header goes by")
	case b.By != ByHeader && b.Header != "":
		k.fail(path+".header", "has no effect without by: header")
	case b.Header != "" && strings.ContainsFunc(b.Header, func(r rune) bool { return !isTokenRune(r) }):
		k.fail(path+".header", "%q is not the name of a header", clip(b.Header))
	}
}

func (k *checker) probed(path string, s *Server) {
	a := s.Health.Active
	if a == nil {
		return
	}
	if s.Personal() != "" {
		k.fail(path, "cannot probe, since url or headers refer to the caller; remove it: calls show which instance fails")
	}
	if s.Type == TypeSSE && a.Kind == "mcp" {
		k.fail(path+".kind", "is mcp, but a server of type sse is reached on streams that stay open; write tcp or http")
	}
	switch {
	case a.Kind == "http" && !strings.HasPrefix(a.Path, "/"):
		k.fail(path+".path", "is missing or does not begin with a slash; write that of a GET, like /healthz")
	case a.Kind != "http" && a.Path != "":
		k.fail(path+".path", "has no effect without kind: http")
	case strings.ContainsFunc(a.Path, func(r rune) bool { return r <= ' ' || r >= 0x7f || r == '#' }):
		k.fail(path+".path", "holds a space, a # or another character that no path of a request may hold")
	}
}
