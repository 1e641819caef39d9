package v1

import (
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"net/url"
	"strconv"
	"strings"
)

// Kind is the sort of sink: the name of the one key that says where records go; empty when none does.
func (s *AuditSink) Kind() string {
	kinds := s.kinds()
	if len(kinds) == 0 {
		return ""
	}
	return kinds[0]
}

// Address is where records go, which may hold a secret.
func (s *AuditSink) Address() string {
	for _, a := range []string{s.File, s.OTLP, s.Syslog, s.Webhook, s.SQLite, string(s.Postgres)} {
		if a != "" {
			return a
		}
	}
	return ""
}

// kinds are the keys that say where records go.
func (s *AuditSink) kinds() []string {
	var all []string
	for _, k := range []struct {
		name string
		is   bool
	}{
		{"file", s.File != ""},
		{"stdout", s.Stdout},
		{"otlp", s.OTLP != ""},
		{"syslog", s.Syslog != ""},
		{"webhook", s.Webhook != ""},
		{"sqlite", s.SQLite != ""},
		{"postgres", s.Postgres != ""},
	} {
		if k.is {
			all = append(all, k.name)
		}
	}
	return all
}

// MaxAuditSinks bounds audit.sinks.
const MaxAuditSinks = 16

// audit checks what is recorded, and where to. No message shows an address: it may hold a secret.
func (k *checker) audit(a *Audit) {
	if len(a.Sinks) > MaxAuditSinks {
		k.fail("audit.sinks", "has %d sinks; at most %d are allowed", len(a.Sinks), MaxAuditSinks)
		return
	}
	seen := map[string]int{}
	for i := range a.Sinks {
		s, path := &a.Sinks[i], "audit.sinks["+strconv.Itoa(i)+"]"
		k.sink(path, s)
		at := s.Kind() + " " + s.Address()
		if first, twice := seen[at]; twice && s.Kind() != "" {
			k.fail(path, "is the same as audit.sinks[%d]; remove one", first)
		} else {
			seen[at] = i
		}
	}
	for i, r := range a.Arguments {
		path := "audit.arguments[" + strconv.Itoa(i) + "]"
		if len(r.Tools) == 0 {
			k.fail(path+".tools", `is missing; name tools, or write ["*"] for all`)
		}
		if r.As == "" {
			k.fail(path+".as", "is missing; write none, hash, redacted or full")
		}
		k.patterns(path+".tools", r.Tools)
	}
	k.patterns("audit.redact", a.Redact)
	if a.Key != "" && !isSigningKey(string(a.Key)) {
		k.fail("audit.key", "is not an Ed25519 private key in PEM (PKCS #8); make one with: openssl genpkey -algorithm ed25519")
	}
}

func (k *checker) patterns(path string, all []string) {
	for i, p := range all {
		if p == "" {
			k.fail(path+"["+strconv.Itoa(i)+"]", "is empty, which fits nothing; remove it")
		}
	}
}

func isSigningKey(text string) bool {
	block, _ := pem.Decode([]byte(text))
	if block == nil {
		return false
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	_, ok := key.(ed25519.PrivateKey)
	return err == nil && ok
}

func (k *checker) sink(path string, s *AuditSink) {
	switch kinds := s.kinds(); len(kinds) {
	case 0:
		k.fail(path, "says nowhere where records go; give one of file, stdout, otlp, syslog, webhook, sqlite and postgres")
		return
	case 1:
	default:
		k.fail(path, "has %s; write a sink for each", strings.Join(kinds, " and "))
		return
	}
	if s.Keep > 0 && s.File == "" {
		k.fail(path+".keep", "is for file only; remove it")
	}
	if len(s.Headers) > 0 && s.OTLP == "" && s.Webhook == "" {
		k.fail(path+".headers", "are for otlp and webhook only; remove them")
	}
	for _, f := range []struct{ key, value string }{{"file", s.File}, {"sqlite", s.SQLite}} {
		if strings.ContainsRune(f.value, 0) || strings.HasSuffix(f.value, "/") {
			k.fail(path+"."+f.key, "is not the path of a file")
		}
	}
	k.sinkURLs(path, s)
	for name, value := range s.Headers {
		k.header(path, name, string(value))
	}
	if s.Syslog != "" {
		k.syslog(path+".syslog", s.Syslog)
	}
	if s.Postgres != "" && !strings.HasPrefix(string(s.Postgres), "postgres://") && !strings.HasPrefix(string(s.Postgres), "postgresql://") {
		k.fail(path+".postgres", "is not the address of a PostgreSQL database; write postgres://user:password@host/database")
	}
}

// sinkURLs checks the addresses to which records are posted.
func (k *checker) sinkURLs(path string, s *AuditSink) {
	for _, f := range []struct {
		key, value string
		private    bool // what is sent is nobody else's
	}{{"otlp", s.OTLP, len(s.Headers) > 0}, {"webhook", s.Webhook, true}} {
		if f.value == "" {
			continue
		}
		if u := k.httpURL(path+"."+f.key, f.value); u != nil && f.private && u.Scheme != "https" && !LoopbackHost(u.Hostname()) {
			k.fail(path+"."+f.key, "is not https; only a loopback address, and otlp without headers, may do without")
		}
	}
}

func (k *checker) syslog(path, text string) {
	u, err := url.Parse(text)
	switch {
	case err != nil:
	case u.Scheme == "unix" && u.Host == "" && strings.HasPrefix(u.Path, "/"):
		return
	case (u.Scheme == "udp" || u.Scheme == "tcp" || u.Scheme == "tls") && u.Hostname() != "" && u.Port() != "" && validPort(u.Port()) &&
		u.Path == "" && u.User == nil:
		return
	}
	k.fail(path, "is not udp://host:port, tcp://host:port, tls://host:port or unix:///path")
}
