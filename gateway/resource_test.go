package gateway

import (
	"strings"
	"testing"
)

func TestFits(t *testing.T) {
	tests := []struct {
		template, uri string
		fixed         int
		ok            bool
	}{
		{"test://template/{id}/data", "test://template/123/data", 21, true},
		{"test://template/{id}/data", "test://template/123/other", 0, false},
		{"test://template/{id}/data", "test://template/{id}/data", 26, true},
		{"file:///{+path}", "file:///a/b/c", 8, true},
		{"file:///{+path}", "http:///a", 0, false},
		{"db://{table}/{row}", "db://a/1", 6, true},
		{"db://{table}/{row}", "db://a", 0, false},
		{"db://x{?q}", "db://x?q=1", 6, true},
		{"plain://x", "plain://x", 10, true},
		{"plain://x", "plain://xy", 9, false},
		{"broken://{x", "broken://1", 0, false},
		{"a{b}c{d}c", "a1c2c", 3, true},
	}
	for _, tt := range tests {
		if fixed, ok := fits(tt.template, tt.uri); fixed != tt.fixed || ok != tt.ok {
			t.Errorf("fits(%q, %q) = %d, %v; want %d, %v", tt.template, tt.uri, fixed, ok, tt.fixed, tt.ok)
		}
	}
}

// A hostile template must not send the search back and forth: expressions are matched once each, from left to right.
func TestFitsHostile(t *testing.T) {
	template := strings.Repeat("{a}x", 1000) + "y"
	if _, ok := fits(template, strings.Repeat("x", 1_000_000)); ok {
		t.Error("fits")
	}
}
