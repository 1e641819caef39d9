package bench

import (
	"fmt"
	"strconv"
	"strings"
)

// Op is a kind of request.
type Op int

// The kinds of requests.
const (
	Connect Op = iota // what a client begins with, on a connection of its own
	List              // tools/list, all pages
	Call              // tools/call
	Stream            // a stream of the server's messages: opened, and closed when it stands
	numOps
)

var opNames = [numOps]string{"connect", "list", "call", "stream"}

// String is the name that the mix has for it.
func (op Op) String() string { return opNames[op] }

// Mix is how often each kind of request comes, as compared with the others.
type Mix [numOps]int

// DefaultMix is what a client does that connects, looks and works.
const DefaultMix = "connect=1,list=4,call=20,stream=1"

const maxWeight = 1000

// ParseMix reads connect=1,list=4,call=20,stream=1. What is left out does not come.
func ParseMix(text string) (Mix, error) {
	var m Mix
	sum := 0
	given := map[string]bool{}
	for part := range strings.SplitSeq(text, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(part), "=")
		op := opOf(name)
		weight, err := strconv.Atoi(value)
		switch {
		case op == numOps:
			return m, fmt.Errorf("--mix: %q is no kind of request; there are %s", name, strings.Join(opNames[:], ", "))
		case given[name]:
			return m, fmt.Errorf("--mix: %s is given twice", name)
		case err != nil || weight < 0 || weight > maxWeight:
			return m, fmt.Errorf("--mix: %s=%s: write a whole number from 0 to %d", name, value, maxWeight)
		}
		given[name] = true
		m[op] = weight
		sum += weight
	}
	if sum == 0 {
		return m, fmt.Errorf("--mix %s: nothing would be sent; give one of them a number above 0", text)
	}
	return m, nil
}

func opOf(name string) Op {
	for op, known := range opNames {
		if known == name {
			return Op(op)
		}
	}
	return numOps
}

// String is the mix as ParseMix reads it.
func (m Mix) String() string {
	var parts []string
	for op, weight := range m {
		if weight > 0 {
			parts = append(parts, opNames[op]+"="+strconv.Itoa(weight))
		}
	}
	return strings.Join(parts, ",")
}

// spread deals the kinds out evenly: of any stretch of a load each kind has its share, give or take one.
func (m Mix) spread() []Op {
	sum := 0
	for _, weight := range m {
		sum += weight
	}
	order := make([]Op, 0, sum)
	var owed Mix
	for range sum {
		next := Op(0)
		for op := range owed {
			if owed[op] += m[op]; owed[op] > owed[next] {
				next = Op(op)
			}
		}
		owed[next] -= sum
		order = append(order, next)
	}
	return order
}
