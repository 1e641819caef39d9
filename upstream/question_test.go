package upstream_test

import (
	"testing"

	"github.com/toolcrib/toolcrib/upstream"
)

func TestAbilities(t *testing.T) {
	for _, tt := range []struct {
		in   string
		want upstream.Abilities
		out  string
	}{
		{``, 0, `{}`},
		{`{}`, 0, `{}`},
		{`{"elicitation":{}}`, upstream.ElicitForm, `{"elicitation":{"form":{}}}`},
		{`{"elicitation":{"url":{}}}`, upstream.ElicitURL, `{"elicitation":{"url":{}}}`},
		{`{"elicitation":{"form":{},"url":{}}}`, upstream.ElicitForm | upstream.ElicitURL, `{"elicitation":{"form":{},"url":{}}}`},
		{`{"sampling":{}}`, upstream.Sample, `{"sampling":{}}`},
		{`{"sampling":{"tools":{}},"roots":{"listChanged":true}}`, upstream.Sample | upstream.SampleTools | upstream.Roots, `{"sampling":{"tools":{}},"roots":{}}`},
		{`{"sampling":{"context":{},"tools":{}}}`, upstream.Sample | upstream.SampleTools | upstream.SampleContext, `{"sampling":{"tools":{},"context":{}}}`},
		{`{"elicitation":true,"roots":null}`, 0, `{}`},
	} {
		got := upstream.AbilitiesOf([]byte(tt.in))
		if got != tt.want {
			t.Errorf("AbilitiesOf(%s) = %b, want %b", tt.in, got, tt.want)
		}
		if out := string(got.Capabilities()); out != tt.out {
			t.Errorf("Capabilities of %s = %s, want %s", tt.in, out, tt.out)
		}
	}
}
