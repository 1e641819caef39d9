package identity

import (
	"crypto/tls"
	"net/http"
	"net/netip"
)

// Request is what of an HTTP request says who sent it, and what it asks for.
type Request struct {
	// Header is the header of the request.
	Header http.Header
	// Host is the host that was asked.
	Host string
	// Path is that of the endpoint as its clients know it, such as /mcp or /servers/files/mcp; empty is the gateway as a whole.
	Path string
	// Remote is where the request comes from; the zero value where that is not known.
	Remote netip.AddrPort
	// TLS is the state of the connection; nil without TLS.
	TLS *tls.ConnectionState
}

// RequestOf is what an HTTP request, for the endpoint with that path, says of its sender.
func RequestOf(r *http.Request, path string) Request {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err == nil {
		remote = netip.AddrPortFrom(remote.Addr().Unmap(), remote.Port())
	}
	return Request{Header: r.Header, Host: r.Host, Path: path, Remote: remote, TLS: r.TLS}
}

// near tells whether the request comes from this machine.
func (r *Request) near() bool { return r.Remote.Addr().IsLoopback() }
