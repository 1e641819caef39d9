package identity

import (
	"strconv"
	"strings"
)

// TokensKept is how many of n tokens of a size are kept; one that is used all the time must be among them.
func TokensKept(n, size int) int {
	t, used := newTokens(), &known{token: "used"}
	t.add(used)
	for i := range n {
		t.add(&known{token: strings.Repeat("x", size) + strconv.Itoa(i)})
		if t.find("used") != used {
			panic("a token that is used was dropped")
		}
	}
	kept := 0
	for i := range t.shards {
		kept += len(t.shards[i].young) + len(t.shards[i].old)
	}
	return kept
}
