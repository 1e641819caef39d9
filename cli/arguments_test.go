package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestArguments(t *testing.T) {
	tests := []struct {
		name   string
		object string
		args   []string
		texts  []string
		want   string
	}{
		{"none", "", nil, nil, `{}`},
		{"text", "", []string{"q=hello world"}, nil, `{"q":"hello world"}`},
		{
			"numbers keep their digits", "",
			[]string{"a=9007199254740993", "b=1.0", "c=1e400", "d=-0"},
			nil,
			`{"a":9007199254740993,"b":1.0,"c":1e400,"d":-0}`,
		},
		{"leading zero is text", "", []string{"zip=01234"}, nil, `{"zip":"01234"}`},
		{"JSON words", "", []string{"a=true", "b=null", "c=True"}, nil, `{"a":true,"b":null,"c":"True"}`},
		{"JSON text keeps its escapes", "", []string{`a="\ud800\u0041"`}, nil, `{"a":"\ud800\u0041"}`},
		{"nested", "", []string{`f={"z": [1, {}], "a": []}`}, nil, `{"f":{"z": [1, {}], "a": []}}`},
		{"value with =", "", []string{"e=a=b"}, nil, `{"e":"a=b"}`},
		{"value with comma", "", []string{"e=a,b"}, nil, `{"e":"a,b"}`},
		{"empty value", "", []string{"e="}, nil, `{"e":""}`},
		{"forced text", "", nil, []string{"zip=10115", "t=true", "n=null"}, `{"zip":"10115","t":"true","n":"null"}`},
		{"name is escaped", "", []string{"a\"b\n=1"}, nil, `{"a\"b\n":1}`},
		{"beyond ASCII", "", []string{"ü=\u00a0\u200d\ufeff"}, nil, "{\"ü\":\"\u00a0\u200d\ufeff\"}"},
		{"object alone", ` {"b":1.0, "a" : 2 } `, nil, nil, `{"b":1.0, "a" : 2 }`},
		{"object and more", `{ "b":1.0 }`, []string{"a=2"}, []string{"c=3"}, `{"a":2,"c":"3", "b":1.0 }`},
		{"empty object and more", "{ \n}", []string{"a=2"}, nil, "{\"a\":2 \n}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := arguments([]byte(tt.object), tt.args, tt.texts)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestArgumentsRefused(t *testing.T) {
	tests := []struct {
		name   string
		object string
		args   []string
		texts  []string
		want   string
	}{
		{"no value", "", []string{"a"}, nil, "--arg a: write --arg NAME=VALUE"},
		{"no name", "", nil, []string{"=1"}, "--text =1: write --text NAME=VALUE"},
		{"twice", "", []string{"a=1"}, []string{"a=2"}, `argument "a" is given twice`},
		{"also in the object", `{"\u0061":1}`, []string{"a=1"}, nil, `argument "a" is given twice`},
		{"an array", `[1]`, nil, nil, "--args is not a JSON object"},
		{"not JSON", `{a:1}`, nil, nil, "--args is not a JSON object"},
		{"two values", `{}{}`, nil, nil, "--args is not a JSON object"},
		{"not UTF-8", "{\"a\":\"\xff\"}", nil, nil, "--args is not a JSON object"},
		{"argument not UTF-8", "", []string{"a=\xff"}, nil, "--arg a: not valid UTF-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := arguments([]byte(tt.object), tt.args, tt.texts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %s, %v; want error %q", got, err, tt.want)
			}
		})
	}
}

func TestReadArguments(t *testing.T) {
	file := filepath.Join(t.TempDir(), "args.json")
	if err := os.WriteFile(file, []byte(`{"a":1.0}`), 0o600); err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{"": "", `{"x":1}`: `{"x":1}`, "@" + file: `{"a":1.0}`, "-": `{"in":1}`} {
		got, err := readArguments(&system{stdin: strings.NewReader(`{"in":1}`)}, value)
		if err != nil || string(got) != want {
			t.Errorf("%s: got %s, %v; want %s", value, got, err, want)
		}
	}
	if _, err := readArguments(&system{}, "@"+file+".none"); err == nil {
		t.Error("a missing file was read")
	}
	if _, err := readArguments(&system{stdin: endless{}}, "-"); err == nil {
		t.Error("an endless input was read")
	}
}

type endless struct{}

func (endless) Read(b []byte) (int, error) { return len(b), nil }

func FuzzArguments(f *testing.F) {
	f.Add(`{"a":1}`, "b=2", "c=3")
	f.Add("", "a={", "b=\u2028")
	f.Fuzz(func(t *testing.T, object, arg, text string) {
		got, err := arguments([]byte(object), []string{arg}, []string{text})
		if err != nil {
			return
		}
		var members names
		if err := members.UnmarshalJSON(got); err != nil {
			t.Fatalf("%s: %v", got, err)
		}
	})
}
