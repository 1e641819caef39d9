package gateway

import (
	"net/url"
	"path"
	"slices"
	"strings"
)

// spellingsMost bounds what a URI may be read as.
const spellingsMost = 8

// spellings are what servers may take a URI for besides what it is: decoded, or with "." and ".." resolved, slashes doubled or
// turned round set right, and scheme and host in lower case (RFC 3986 section 6.2.2), or one after the other. What is decided of
// a URI holds only where it is decided of all of them, so that no spelling gets around a pattern. It is not ok where nobody can
// tell what a server would make of the URI.
func spellings(uri string) (others []string, ok bool) {
	all := []string{uri}
	for i := 0; i < len(all); i++ {
		if strings.IndexFunc(all[i], unprintable) >= 0 {
			return nil, false
		}
		for _, next := range [...]string{normal(all[i]), decoded(all[i])} {
			if !slices.Contains(all, next) {
				all = append(all, next)
			}
		}
		if len(all) > spellingsMost {
			return nil, false
		}
	}
	return all[1:], true
}

// unprintable characters have no place in a URI; parsers differ in what they make of them.
func unprintable(r rune) bool { return r < ' ' || r == 0x7f }

// decoded undoes percent-encoding once; a % that encodes nothing stays.
func decoded(uri string) string {
	if strings.IndexByte(uri, '%') < 0 {
		return uri
	}
	var b strings.Builder
	for i := 0; i < len(uri); i++ {
		if uri[i] == '%' && i+2 < len(uri) {
			if c, err := url.PathUnescape(uri[i : i+3]); err == nil {
				b.WriteString(c)
				i += 2
				continue
			}
		}
		b.WriteByte(uri[i])
	}
	return b.String()
}

// rooted are the schemes whose URIs have a host, or a path from the root, whatever slashes they are written with (WHATWG URL
// section 4.1 "special scheme").
var rooted = map[string]string{"file:": "///", "http:": "//", "https:": "//", "ws:": "//", "wss:": "//", "ftp:": "//"}

// normal sets scheme, host and path right. Another scheme without // has its whole rest taken for a path.
func normal(uri string) string {
	uri = strings.ReplaceAll(uri, `\`, "/")
	scheme, rest, found := strings.Cut(uri, ":")
	if !found {
		scheme, rest = "", uri
	} else {
		scheme = strings.ToLower(scheme) + ":"
	}
	if root := rooted[scheme]; root != "" && !(scheme == "file:" && strings.HasPrefix(rest, "//")) {
		rest = root + strings.TrimLeft(rest, "/")
	}
	host := ""
	if after, has := strings.CutPrefix(rest, "//"); has {
		end := strings.IndexAny(after, "/?#")
		if end < 0 {
			end = len(after)
		}
		host, rest = "//"+strings.ToLower(after[:end]), after[end:]
	}
	if host == "//localhost" {
		host = "//"
	}
	return scheme + host + resolved(rest)
}

// resolved takes "." and ".." and empty segments out of what may be a path, also behind a query or fragment: nobody knows what
// a server reads as one. Only where there is any of them does it differ.
func resolved(rest string) string {
	if !strings.Contains(rest, "/.") && !strings.Contains(rest, "//") && !strings.HasPrefix(rest, ".") {
		return rest
	}
	clean := path.Clean(rest)
	if strings.HasPrefix(rest, "/") {
		clean = path.Clean("/" + rest)
	}
	if strings.HasSuffix(rest, "/") && clean != "/" {
		clean += "/"
	}
	return clean
}
