package upstream_test

import (
	"fmt"
	"strings"
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
		raw := []byte(tt.in)
		if n := testing.AllocsPerRun(10, func() { got |= upstream.AbilitiesOf(raw) }); n != 0 || got != tt.want {
			t.Errorf("AbilitiesOf(%s) again: %b, with %v allocations", tt.in, got, n)
		}
		if out := string(got.Capabilities()); out != tt.out {
			t.Errorf("Capabilities of %s = %s, want %s", tt.in, out, tt.out)
		}
	}
}

// TestAbilitiesOfMany: what is remembered of some capabilities is never taken for that of others.
func TestAbilitiesOfMany(t *testing.T) {
	t.Parallel()
	for range 2 {
		for i := range 2000 {
			can := upstream.Abilities(i) & upstream.AllAbilities
			raw := strings.TrimSuffix(string(can.Capabilities()), "}")
			if can != 0 {
				raw += ","
			}
			raw += fmt.Sprintf(`"experimental":{"n%d":{}}}`, i)
			want := upstream.AbilitiesOf(can.Capabilities())
			if got := upstream.AbilitiesOf([]byte(raw)); got != want {
				t.Fatalf("AbilitiesOf(%s) = %b, want %b", raw, got, want)
			}
		}
	}
}

func BenchmarkAbilities(b *testing.B) {
	raw := []byte(everything)
	b.ReportAllocs()
	for b.Loop() {
		if upstream.AbilitiesOf(raw) != upstream.AllAbilities {
			b.Fatal("misread")
		}
	}
}
