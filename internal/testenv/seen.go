package testenv

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// Witness is all that a message told its server of for whom it is.
type Witness struct {
	// Path is what was asked, Headers are X-Tenant and X-User, Token is Authorization.
	Path, Tenant, User, Token string
	// Env is the variable WHO of the process.
	Env string
	// Header and Meta are the claims of the statement that came so; nil for none. They are not verified.
	Header, Meta Claims
}

// IdentityHeader is where statements come by default.
const IdentityHeader = "X-Toolcrib-Identity"

// Seen tells what the server sees of for whom a message is.
func (c *Call) Seen() Witness { return c.Record.seen(c.Child) }

// Seen is that of a message that an HTTP server received.
func (r *Record) Seen() Witness { return r.seen(nil) }

func (r *Record) seen(child *Child) Witness {
	s := Witness{
		Path: r.Path, Tenant: r.Header.Get("X-Tenant"), User: r.Header.Get("X-User"), Token: r.Header.Get("Authorization"),
		Header: ClaimsOf(strings.Join(r.Header[IdentityHeader], " + ")),
	}
	if child != nil {
		s.Env = child.Var("WHO")
	}
	var meta string
	if json.Unmarshal([]byte(r.Meta("io.toolcrib/identity")), &meta) == nil {
		s.Meta = ClaimsOf(meta)
	}
	return s
}

// Tag is short for what was seen.
func (s Witness) Tag() string {
	var b strings.Builder
	for _, one := range []struct{ name, value string }{
		{"path", s.Path}, {"tenant", s.Tenant}, {"user", s.User}, {"token", s.Token}, {"env", s.Env}, {"header", ident(s.Header)}, {"meta", ident(s.Meta)},
	} {
		if one.value != "" {
			fmt.Fprintf(&b, "<%s %s>", one.name, one.value)
		}
	}
	return b.String()
}

func ident(claims Claims) string {
	if claims == nil {
		return ""
	}
	return fmt.Sprintf("%v/%v", claims["tenant"], claims["sub"])
}

// ClaimsOf are the claims of a JWT, which is not verified; nil when it is none.
func ClaimsOf(token string) Claims {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return nil
	}
	var claims Claims
	_ = json.Unmarshal(b, &claims) // what is no object has none
	return claims
}

// Tagged is a server whose every answer tells what it saw: its lists in descriptions, its tool "mine", its resource "tag://mine"
// and its prompt "mine". More are names of tools that it lists besides.
func Tagged(era Era, more ...string) Script {
	all := append(make([]string, 0, 1+len(more)), `{"name":"mine","description":TAG,"inputSchema":{"type":"object"}}`)
	for _, name := range more {
		all = append(all, Tool(name))
	}
	tools := strings.Join(all, ",")
	tagged := func(f func(c *Call, tag string)) func(*Call) {
		return func(c *Call) {
			text, _ := json.Marshal(c.Seen().Tag())
			f(c, string(text))
		}
	}
	list := func(key, item string) func(*Call) {
		return tagged(func(c *Call, tag string) {
			members := ""
			if c.Server.Era() == Modern {
				members = `"ttlMs":60000,"cacheScope":"public",`
			}
			c.Complete(members + `"` + key + `":[` + strings.ReplaceAll(item, "TAG", tag) + `]`)
		})
	}
	return Script{
		Era:          era,
		Capabilities: `{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true},"completions":{}}`,
		On: map[string]func(*Call){
			"tools/list":     list("tools", tools),
			"prompts/list":   list("prompts", `{"name":"mine","description":TAG}`),
			"resources/list": list("resources", `{"name":"mine","uri":"tag://mine","description":TAG}`),
			"tools/call mine": tagged(func(c *Call, tag string) {
				c.Complete(`"content":[{"type":"text","text":` + tag + `}]`)
			}),
			"resources/read": tagged(func(c *Call, tag string) {
				members := ""
				if c.Server.Era() == Modern {
					members = `"ttlMs":60000,"cacheScope":"public",`
				}
				c.Complete(members + `"contents":[{"uri":"tag://mine","text":` + tag + `}]`)
			}),
			"prompts/get": tagged(func(c *Call, tag string) {
				c.Complete(`"messages":[{"role":"user","content":{"type":"text","text":` + tag + `}}]`)
			}),
			"completion/complete": tagged(func(c *Call, tag string) {
				c.Complete(`"completion":{"values":[` + tag + `]}`)
			}),
		},
	}
}
