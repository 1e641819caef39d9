package gateway

import (
	"slices"
	"testing"
)

// TestSpellings: whatever a server may take a URI for is found.
func TestSpellings(t *testing.T) {
	t.Parallel()
	for _, row := range []struct{ uri, among string }{
		{"file:///data/a%20b", "file:///data/a b"},
		{"file:///data/../etc/passwd", "file:///etc/passwd"},
		{"file:///data/%2e%2e/etc/passwd", "file:///etc/passwd"},
		{"file:///data/%252e%252e%252fetc/passwd", "file:///etc/passwd"},
		{"file:///data/..%2fetc", "file:///etc"},
		{`file:///data/..\etc`, "file:///etc"},
		{"file:///data/..%5cetc", "file:///etc"},
		{"file:///data/./x//y/", "file:///data/x/y/"},
		{"file:///data/a%2fb%2fc/../../etc", "file:///etc"},        // resolved before it is decoded
		{"file:///data/a%2fb%2fc/../../etc", "file:///data/a/etc"}, // and after
		{"FILE:///data/x", "file:///data/x"},
		{"file://LocalHost/data/x", "file:///data/x"},
		{"file:////secret/x", "file:///secret/x"},
		{"http://Example.COM/A", "http://example.com/A"},
		{"file:///data/x?y=/../z", "file:///data/z"},
		{"file:///data/..", "file:///"},
		{"db:users/../keys", "db:keys"},
		{"file:/secret/x", "file:///secret/x"},
		{"FILE:secret/x", "file:///secret/x"},
		{`file:\secret\x`, "file:///secret/x"},
		{"file:/data/..//secret/x", "file:///secret/x"},
		{"http:/example.com/A", "http://example.com/A"},
		{"https:example.com/A", "https://example.com/A"},
		{"https:///example.com/A", "https://example.com/A"},
	} {
		if got, ok := spellings(row.uri); !ok || !slices.Contains(got, row.among) {
			t.Errorf("%s: %q, %v; want %q among them", row.uri, got, ok, row.among)
		}
	}
	for _, uri := range []string{
		"file:///data/a", "db:../keys", "urn:isbn:1", "no scheme", "file:///data/{name}", "file:///data/a..b/...", "file:///data/100%", "mem://x/y?z=1#a",
	} {
		if got, ok := spellings(uri); !ok || len(got) > 0 {
			t.Errorf("%s: %q, %v; there is no other", uri, got, ok)
		}
	}
	for _, uri := range []string{"file:///a\x00b", "file:///a%00b", "file:///a%0ab", "file:///a\tb", "file:///%2525252525252525252541/../x"} {
		if got, ok := spellings(uri); ok {
			t.Errorf("%q may be %q", uri, got)
		}
	}
}

// FuzzSpellings: a spelling of a spelling is one, too.
func FuzzSpellings(f *testing.F) {
	f.Add("file:///a/../%2e%2e//b")
	f.Fuzz(func(t *testing.T, uri string) {
		all, ok := spellings(uri)
		if !ok {
			return
		}
		for _, one := range all {
			more, ok := spellings(one)
			if !ok {
				t.Errorf("%q may be %q, which is not clear", uri, one)
			}
			for _, two := range more {
				if two != uri && !slices.Contains(all, two) {
					t.Errorf("%q may be %q, and that %q, which is not among %q", uri, one, two, all)
				}
			}
		}
	})
}
