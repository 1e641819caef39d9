package system_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/toolcrib/toolcrib/internal/testenv"
)

// TestManyClients: 1, 20 and 100 clients of both eras call one process of each era, in which answers of nearly 16 MiB pass among
// small ones, and each gets its own answer byte for byte.
func TestManyClients(t *testing.T) {
	t.Parallel()
	for _, era := range testenv.Eras {
		t.Run(era.String(), func(t *testing.T) {
			t.Parallel()
			l := testenv.LoneServer(t, era.String(), "")
			g := testenv.Serve(t, testenv.Config{
				Entries: map[string]any{"one": l.Entry()}, More: map[string]any{"log": map[string]any{"level": "error"}},
			})
			for _, clients := range []int{1, 20, 100} {
				each(clients, func(i int) {
					client := g.Client(testenv.Eras[i%2], "/mcp")
					for n := range 8 {
						if i%50 == 0 && n == 3 {
							callBig(t, client)
						}
						callCorpus(t, client, fmt.Sprintf("%d of %d, %d", i, clients, n), []string{corpus, pretty}[n%2])
					}
				})
			}
			if all := l.Processes(); len(all) != 1 {
				t.Errorf("processes %v, want one", all)
			}
		})
	}
}

// callCorpus has the corpus echoed with what makes the call unlike every other.
func callCorpus(t *testing.T, client *testenv.Client, caller, body string) {
	t.Helper()
	args := `{"caller":"` + caller + `","body":` + body + `}`
	r := client.Tool("one__echo", args)
	if want := strings.ReplaceAll(args, "\n", " "); r.Status != 200 || r.Member("structuredContent") != want {
		t.Errorf("sent %s\ngot  %v", want, r)
	}
}

func callBig(t *testing.T, client *testenv.Client) {
	t.Helper()
	const size = 16<<20 - 4096
	r := client.Tool("one__big", fmt.Sprintf(`{"n":%d}`, size))
	_, text, _ := bytes.Cut(r.Last(), []byte(`"content":[{"type":"text","text":"`))
	if want := bytes.Repeat([]byte("0123456789abcdef"), size/16); r.Status != 200 || !bytes.Equal(text, append(want, `"}]}}`...)) {
		t.Errorf("%d bytes of text: %.200v", len(text), r)
	}
}
