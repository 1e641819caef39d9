package login

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// Origin is the gateway at a URL: scheme and host of it, in lower case, without the port that the scheme has anyway.
func Origin(text string) (string, error) {
	u, err := safe(text)
	if err != nil {
		return "", err
	}
	return origin(u), nil
}

func origin(u *url.URL) string {
	host, port := strings.ToLower(u.Hostname()), u.Port()
	if u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		port = ""
	}
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if port != "" {
		host += ":" + port
	}
	return u.Scheme + "://" + host
}

const addressMost = 8192

// safe is an address that a credential may be sent to, or that a browser may be sent to: https, or http at a loopback address,
// of plain characters only.
func safe(text string) (*url.URL, error) {
	if len(text) > addressMost {
		return nil, fmt.Errorf("an address of %d characters; at most %d are taken", len(text), addressMost)
	}
	if strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("\"'`<>\\^{|}", r) }) {
		return nil, fmt.Errorf("%q is not an address: it has characters that no address has", text)
	}
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("%q is not an address", text)
	}
	switch {
	case u.Scheme != "https" && u.Scheme != "http" || u.Opaque != "":
		return nil, fmt.Errorf("%q is not an address: write https://HOST", text)
	case u.User != nil:
		return nil, errors.New("an address must not hold a user or password")
	case !plainHost(u.Hostname()):
		return nil, fmt.Errorf("%q is not an address: %q is not a host", text, u.Hostname())
	case u.Fragment != "" || strings.Contains(text, "#"):
		return nil, fmt.Errorf("%q has a fragment", text)
	case u.Scheme == "http" && !v1.LoopbackHost(u.Hostname()):
		return nil, fmt.Errorf("%q is not safe: without TLS anybody on the way can read what is sent; http is for loopback addresses only", text)
	}
	return u, nil
}

// plainHost keeps out what some programs take for more than a host.
func plainHost(host string) bool {
	if ip := net.ParseIP(host); ip != nil {
		return true
	}
	if host == "" || host[0] == '-' || host[0] == '.' {
		return false
	}
	return !strings.ContainsFunc(host, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
}
