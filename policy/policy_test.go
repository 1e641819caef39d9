package policy_test

import (
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/policy"
)

func compile(t testing.TB, c *v1.Config) *policy.Set {
	t.Helper()
	s, err := policy.Compile(c, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestWithoutPoliciesEverythingIsPermitted(t *testing.T) {
	s := compile(t, &v1.Config{})
	if s.Enforced() {
		t.Error("is enforced")
	}
	v := s.View(identity.Anonymous)
	if d := v.May(&policy.Object{Kind: policy.KindTool, Server: "search", Name: "find", Shown: "search__find"}, &policy.Facts{}); !d.Allowed {
		t.Errorf("got %+v", d)
	}
	if d := v.Manages("keys:write"); d.Allowed {
		t.Errorf("management is open without a credential: %+v", d)
	}
}
