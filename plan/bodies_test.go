package plan_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/mcp"
)

// TestShownBodies: credentials are left out of what the log shows however they are written in JSON, and all else is there.
func TestShownBodies(t *testing.T) {
	p := compile(t, `
mcpServers:
  one: {url: "https://one.example/mcp", headers: {X-Key: 'abc/def"ghi<12345'}}
log: {bodies: [{tools: ["*"], arguments: true, most: 4Ki}]}
`)
	rule := p.Bodies.For("one", "one__find")
	for _, secret := range []string{`abc/def"ghi<12345`, `own/token"value`} {
		once, err := json.Marshal(map[string]string{"q": secret})
		if err != nil {
			t.Fatal(err)
		}
		slashed := strings.ReplaceAll(string(mcp.AppendString([]byte(`{"q":`), secret)), "/", `\/`) + "}"
		inner := func(text string) string { return string(mcp.AppendString([]byte(`{"text":`), text)) + "}" }
		for _, body := range []string{
			string(once), slashed, inner(string(once)), inner(slashed), `{"q":"` + strings.Repeat(`\ud83d\ude00`, 3) + `\u0061` + string(once[6:]),
		} {
			got := p.Bodies.Show(rule, "one", `own/token"value`, []byte(body))
			if strings.Contains(got, "def") || strings.Contains(got, "token") || !json.Valid([]byte(got)) {
				t.Errorf("%s shows %s", body, got)
			}
		}
	}
	const all = `{"a":"\u00fc\n\ud800","b":[1.0,"\\"]}`
	if got, want := p.Bodies.Show(rule, "one", "", []byte(all)), `{"a":"\u00fc\n\ud800","b":[1.0,"\\"]}`; got != want {
		t.Errorf("%s, not %s", got, want)
	}
}
