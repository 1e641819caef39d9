package front_test

import (
	"net/http"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/front"
)

var guarded = &v1.Config{
	PublicURL: "https://public.example:8443", AllowedHosts: []string{"tools.internal", "other.internal:99", "[2001:db8::1]"}, AllowedOrigins: []string{"app://desk"},
}

// TestCheckHost: a Host is what a client takes it for, and nothing that only begins like one that is allowed.
func TestCheckHost(t *testing.T) {
	const fine, foreign, none = "", "forbidden", "bad_request"
	for host, want := range map[string]string{
		"localhost": fine, "LOCALHOST:80": fine, "127.0.0.1:1": fine, "127.8.8.8": fine, "[::1]": fine, "[::1]:8080": fine, "localhost:": fine,
		"tools.internal": fine, "Tools.Internal:7": fine, "other.internal:99": fine, "[2001:db8::1]:5": fine, "public.example": fine, "PUBLIC.example:1": fine,
		"evil.example": foreign, "localhost.evil.example": foreign, "127.0.0.1.evil.example": foreign, "other.internal": foreign, "other.internal:9": foreign,
		"evil-tools.internal": foreign, "localhost.": foreign, "10.0.0.1": foreign, "[2001:db8::2]": foreign, "0.0.0.0": foreign, "": foreign,
		"localhost:80@evil.example": none, "localhost@evil.example": none, "evil.example@localhost": none, "localhost:80:80": none, "localhost:x": none,
		"localhost:80,evil.example": none, "localhost, evil.example": none, "localhost/": none, "localhost?x": none, "localhost#x": none, "[localhost]:80": none,
		"[::1": none, "::1": none, "[::1]x": none, "[::1]@evil.example": none, "%6cocalhost": none, "localhost%00": none, " localhost": none, ":80": none,
	} {
		for _, loopback := range []bool{false, true} {
			r := &http.Request{Host: host, Header: http.Header{}}
			if err := front.CheckOrigin(r, guarded, loopback); outcome(err) != want {
				t.Errorf("Host %q: %v, want %q", host, err, want)
			}
		}
		if host == "" || want == none {
			continue
		}
		if err := front.CheckOrigin(&http.Request{Host: host}, &v1.Config{}, false); err != nil {
			t.Errorf("Host %q, where nothing says what it should be: %v", host, err)
		}
	}
	if err := front.CheckOrigin(&http.Request{Host: "localhost:80@evil.example"}, &v1.Config{}, false); outcome(err) != none {
		t.Errorf("what is no host, where nothing says what it should be: %v", err)
	}
}

// TestCheckOrigin: there is one Origin or none, and it is just an origin.
func TestCheckOrigin(t *testing.T) {
	for _, test := range []struct {
		origins []string
		fine    bool
	}{
		{nil, true},
		{[]string{"http://localhost"}, true},
		{[]string{"https://[::1]:3000"}, true},
		{[]string{"https://public.example:8443"}, true},
		{[]string{"app://desk"}, true},
		{[]string{""}, false},
		{[]string{"null"}, false},
		{[]string{"http://localhost", "http://localhost"}, false},
		{[]string{"http://localhost http://evil.example"}, false},
		{[]string{"http://localhost,http://evil.example"}, false},
		{[]string{"http://localhost:80@evil.example"}, false},
		{[]string{"http://evil.example@localhost"}, false},
		{[]string{"http://localhost/path"}, false},
		{[]string{"http://[localhost]"}, false},
		{[]string{"http://localhost?x"}, false},
		{[]string{"ftp://localhost"}, false},
		{[]string{"//localhost"}, false},
		{[]string{"https://public.example"}, false},
		{[]string{"http://public.example:8443"}, false},
		{[]string{"app://desk.evil"}, false},
	} {
		r := &http.Request{Host: "localhost", Header: http.Header{"Origin": test.origins}}
		if err := front.CheckOrigin(r, guarded, true); (err == nil) != test.fine {
			t.Errorf("Origin %q: %v, want fine: %v", test.origins, err, test.fine)
		}
	}
}

func outcome(err error) string {
	if err == nil {
		return ""
	}
	return errs.Of(err).Kind.Outcome()
}
