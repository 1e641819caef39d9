package v1_test

import (
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

func TestLoopbackHost(t *testing.T) {
	for host, want := range map[string]bool{
		"localhost": true, "LocalHost": true, "127.0.0.1": true, "127.9.9.9": true, "::1": true,
		"": false, "0.0.0.0": false, "::": false, "localhost.example": false, "127.0.0.1.example": false, "10.0.0.1": false, "127.1": false,
	} {
		if got := v1.LoopbackHost(host); got != want {
			t.Errorf("%q: %v", host, got)
		}
	}
}
