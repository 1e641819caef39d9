package gateway

import (
	"fmt"
	"net/http"
	"testing"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/identity"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/plan"
)

// sought is a request as it is looked for in the cache.
type sought struct {
	method, subject, more, meta, header string // of the request
	id, token, trace                    string // which no answer depends on
	legacy, info, level                 string // of a legacy client, where legacy is not empty
	user, tenant, session, within       string // who asks
}

// keys are those of a request, for everybody and for the caller; ok tells whether there can be such a request.
func (a sought) keys(k *keeping) (everybody, own cache.Key, ok bool) {
	quote := func(s string) string { return string(mcp.AppendString(nil, s)) }
	subject := "name"
	if a.method == "resources/read" {
		subject = "uri"
	}
	x := &Exchange{
		Session: a.session, Principal: &identity.Principal{Subject: a.user, Tenant: a.tenant, Method: identity.MethodProxy},
		Header: http.Header{"Mcp-Param-X": {a.header}, "Other": {a.id}},
		name:   []byte(a.subject), member: &member{Server: &plan.Server{Spec: &v1.Server{}}},
	}
	x.held.key.Name = a.within
	x.Client.Modern = a.legacy == ""
	x.Client.Info, x.Client.LogLevel = []byte(a.info), a.level
	x.In.Body = fmt.Appendf(nil, `{"jsonrpc":"2.0","id":%s,"method":%s,"params":{"_meta":{"progressToken":%s,"traceparent":%s,"x":%s},%s:%s,"arguments":{"a":%s}}}`,
		quote(a.id), quote(a.method), quote(a.token), quote(a.trace), quote(a.meta), quote(subject), quote(a.subject), quote(a.more))
	if x.In.Scan(mcp.Limits{}) != nil || x.In.Kind != mcp.KindRequest {
		return everybody, own, false
	}
	var h cache.Hash
	x.essence(&h, k)
	everybody = h.Sum()
	x.context(&h)
	return everybody, h.Sum(), true
}

// FuzzCacheKey: two requests have the same key only where nothing differs that an answer may depend on, and do not differ by what
// it does not depend on.
func FuzzCacheKey(f *testing.F) {
	f.Add(uint8(0), "a", "b")
	f.Add(uint8(3), "", "\x00")
	f.Add(uint8(9), "t/u", "t%2Fu")
	k := &keeping{id: 7}
	f.Fuzz(func(t *testing.T, field uint8, one, other string) {
		base := sought{method: "tools/call", subject: "tool", more: "m", meta: "m", header: "h", id: "1", token: "t", trace: "r", user: "u", tenant: "t"}
		if field&128 != 0 {
			base.method = "resources/read"
		}
		if field&64 != 0 {
			base.legacy = "yes"
		}
		a, b := base, base
		type at struct{ a, b *string }
		public := []at{{&a.subject, &b.subject}, {&a.more, &b.more}, {&a.meta, &b.meta}, {&a.header, &b.header}}
		private := []at{{&a.user, &b.user}, {&a.tenant, &b.tenant}, {&a.session, &b.session}, {&a.within, &b.within}}
		none := []at{{&a.id, &b.id}, {&a.token, &b.token}, {&a.trace, &b.trace}}
		if base.legacy != "" {
			public = append(public, at{&a.info, &b.info}, at{&a.level, &b.level})
		}
		all := append(append(append([]at{}, public...), private...), none...)
		n := int(field&63) % len(all)
		*all[n].a, *all[n].b = one, other
		aAll, aOwn, aOK := a.keys(k)
		bAll, bOwn, bOK := b.keys(k)
		if !aOK || !bOK {
			return
		}
		// Where a text is no UTF-8 the requests may be written alike.
		differ := a.normal() != b.normal()
		if wantAll := !differ || n >= len(public); (aAll == bAll) != wantAll {
			t.Errorf("field %d, %q and %q: the same key for everybody: %v", n, one, other, aAll == bAll)
		}
		if wantOwn := !differ || n >= len(public)+len(private); (aOwn == bOwn) != wantOwn {
			t.Errorf("field %d, %q and %q: the same key for the caller: %v", n, one, other, aOwn == bOwn)
		}
		if aAll == aOwn {
			t.Error("what is for everybody has the key of what is for one")
		}
	})
}

// normal is the request as it is written.
func (a sought) normal() sought {
	for _, s := range []*string{&a.more, &a.meta, &a.id, &a.token, &a.trace} {
		*s = string(mcp.AppendString(nil, *s))
	}
	for _, s := range []*string{&a.user, &a.tenant} { // a principal is told to others as JSON
		*s = string([]rune(*s))
	}
	return a
}

// TestCacheKeyExtras: a member that has the name of another request's subject is one of the parameters.
func TestCacheKeyExtras(t *testing.T) {
	t.Parallel()
	key := func(params string) cache.Key {
		x := &Exchange{name: []byte("mem://a"), Principal: identity.Anonymous}
		x.In.Body = []byte(`{"jsonrpc":"2.0","id":1,"method":"resources/read","params":{` + params + `}}`)
		if e := x.In.Scan(mcp.Limits{}); e != nil {
			t.Fatal(e)
		}
		var h cache.Hash
		x.essence(&h, &keeping{})
		return h.Sum()
	}
	seen := map[cache.Key]string{}
	for _, params := range []string{
		`"uri":"mem://a"`, `"uri":"mem://a","name":"x"`, `"uri":"mem://a","name":"y"`, `"uri":"mem://a","_meta":{"a":1}`, `"uri":"mem://a","_meta":{"a":1.0}`,
		`"uri":"mem://a","_meta":{"baggage":"a"}`, `"uri":"mem://a","_meta":{"baggage":"b"}`, `"name":"x","uri":"mem://a"`, `"uri":"mem://a","_meta":{"progressToken":1}`,
	} {
		if other, taken := seen[key(params)]; taken {
			t.Errorf("%s has the key of %s", params, other)
		}
		seen[key(params)] = params
	}
}

// TestToolTimes: what is worked out beforehand is what the configuration says.
func TestToolTimes(t *testing.T) {
	s := &v1.Server{Tools: map[string]v1.ToolSettings{}}
	for i, name := range []string{"a", "a*", "*b", "ab*", "*ab", "off*", "off_not", "plain"} {
		s.Tools[name] = v1.ToolSettings{Cache: new(v1.Duration(i + 1))}
	}
	s.Tools["off*"], s.Tools["plain"] = v1.ToolSettings{Cache: new(v1.Duration(0))}, v1.ToolSettings{}
	times := timesOf(s)
	for _, tool := range []string{"a", "aa", "ab", "abb", "b", "cb", "cab", "xabx", "off", "offer", "off_not", "plain", "a*", ""} {
		if got, want := times.of([]byte(tool)), s.CacheOf(tool); got != want {
			t.Errorf("%q: %v, want %v", tool, got, want)
		}
	}
}
