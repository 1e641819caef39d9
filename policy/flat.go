package policy

import (
	"bytes"
	"math"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/cedar-policy/cedar-go/x/exp/ast"

	"github.com/toolcrib/toolcrib/mcp"
)

// Most conditions compare an argument with a constant. Those are evaluated here, for arguments that hold plain values only, on
// every call; all others by cedar-go, which makes a record of all that it is asked about. Both come to the same.

// The bounds of flat arguments.
const (
	flatMost   = 16 // members
	flatWanted = 8  // of them policies look at
)

// flat are the arguments that policies look at, of a call whose arguments are all plain values.
type flat struct {
	want *wanted
	n    int
	args [flatWanted]struct {
		name  string
		value types.Value
	}
	seen    [flatMost][]byte
	members int
	scratch []byte
}

var flats = sync.Pool{New: func() any { return new(flat) }}

func (a *flat) free() {
	clear(a.args[:a.n])
	clear(a.seen[:a.members])
	a.n, a.members, a.want = 0, 0, nil
	flats.Put(a)
}

// read takes arguments in, as arguments does. It is false for those that are not flat, or that perhaps cannot be read.
func (a *flat) read(data []byte, want *wanted) bool {
	if len(want.sorted) > flatWanted || len(data) > math.MaxInt32 || len(data) == 0 || data[0] != '{' {
		return false
	}
	a.want = want
	return mcp.Members(data, mcp.Span{End: int32(len(data))}, func(f mcp.Field) bool { return a.member(data, f) })
}

func (a *flat) member(data []byte, f mcp.Field) bool {
	name := f.Name(data)
	name = name[1 : len(name)-1]
	if a.members == flatMost || bytes.IndexByte(name, '\\') >= 0 {
		return false
	}
	for _, other := range a.seen[:a.members] {
		if bytes.Equal(other, name) {
			return false
		}
	}
	a.seen[a.members] = name
	a.members++
	i, blurred := a.wanted(name)
	if blurred {
		return false
	}
	v, ok := a.value(data, f.Span, i >= 0)
	if ok && i >= 0 {
		a.args[a.n].name, a.args[a.n].value = a.want.sorted[i], v
		a.n++
	}
	return ok
}

// wanted is the place of a name among those that policies look at, -1 for another; blurred is one that differs from such a name in
// case only.
func (a *flat) wanted(name []byte) (i int, blurred bool) {
	for i, w := range a.want.sorted {
		if w == string(name) {
			if a.want.names[w] {
				return i, false
			}
			return -1, false
		}
		blurred = blurred || recased(w, name)
	}
	return -1, blurred
}

// recased tells whether names are the same but for case.
func recased(w string, name []byte) bool {
	if len(w) > 0 && len(name) > 0 && w[0] < utf8.RuneSelf && name[0] < utf8.RuneSelf && w[0]|0x20 != name[0]|0x20 {
		return false
	}
	return strings.EqualFold(w, string(name))
}

// value is a plain value, if it is asked for.
func (a *flat) value(data []byte, s mcp.Span, wanted bool) (types.Value, bool) {
	raw := s.Of(data)
	switch raw[0] {
	case '{', '[':
		return nil, false
	case '"':
		text, ok := mcp.Text(data, s, a.scratch)
		if len(text) > 0 && &text[0] != &raw[1:][0] && cap(text) <= slimText {
			a.scratch = text
		}
		if !ok || !wanted {
			return nil, ok
		}
		return cedar.String(text), true
	case 't', 'f':
		return cedar.Boolean(raw[0] == 't'), true
	case 'n':
		return null, true
	}
	if !wanted {
		return nil, true
	}
	return number(string(raw), false), true
}

// slimText is what the buffer for texts with escapes may keep.
const slimText = 4 << 10

// plain evaluates a condition on flat arguments; it is false where that cannot be done, as Cedar has errors.
type plain func(*flat) (types.Value, bool)

// plainly is a list of conditions on flat arguments, all of which must hold; nil where one is of another kind.
func plainly(nodes []ast.IsNode) (all []plain) {
	for _, n := range nodes {
		p := plainOf(n)
		if p == nil {
			return nil
		}
		all = append(all, p)
	}
	return all
}

// of tells what the conditions of a call come to.
func (a *flat) of(r *rule) outcomes {
	for _, c := range r.plain {
		v, ok := c(a)
		if b, is := v.(cedar.Boolean); !ok || !is {
			return errs
		} else if !b {
			return fails
		}
	}
	return holds
}

func (a *flat) find(name string) (types.Value, bool) {
	for i := range a.args[:a.n] {
		if a.args[i].name == name {
			return a.args[i].value, true
		}
	}
	return nil, false
}

// plainOf is the condition, or a part of one; nil where it is of another kind.
func plainOf(n ast.IsNode) plain {
	switch t := n.(type) {
	case ast.NodeValue:
		switch t.Value.(type) {
		case cedar.String, cedar.Boolean, cedar.Long, cedar.EntityUID:
			return func(*flat) (types.Value, bool) { return t.Value, true }
		}
	case ast.NodeTypeSet:
		return plainSet(t)
	case ast.NodeTypeAccess:
		if name := string(t.Value); isArgs(t.Arg) {
			return func(a *flat) (types.Value, bool) { return a.find(name) }
		}
	case ast.NodeTypeHas:
		if name := string(t.Value); isArgs(t.Arg) {
			return func(a *flat) (types.Value, bool) { _, has := a.find(name); return cedar.Boolean(has), true }
		}
		if t.Value == "args" && isVariable(t.Arg, "context") {
			return func(*flat) (types.Value, bool) { return cedar.True, true }
		}
	case ast.NodeTypeNot:
		return plainNot(plainOf(t.Arg))
	case ast.NodeTypeLike:
		return plainLike(plainOf(t.Arg), t.Value)
	case ast.NodeTypeAnd:
		return plainSequence(t.Left, t.Right, cedar.False)
	case ast.NodeTypeOr:
		return plainSequence(t.Left, t.Right, cedar.True)
	default:
		return plainBinary(n)
	}
	return nil
}

// isArgs tells whether a node is context.args.
func isArgs(n ast.IsNode) bool {
	t, ok := n.(ast.NodeTypeAccess)
	return ok && t.Value == "args" && isVariable(t.Arg, "context")
}

func plainNot(p plain) plain {
	if p == nil {
		return nil
	}
	return func(a *flat) (types.Value, bool) {
		v, ok := p(a)
		b, is := v.(cedar.Boolean)
		return !b, ok && is
	}
}

func plainLike(p plain, pattern types.Pattern) plain {
	if p == nil {
		return nil
	}
	return func(a *flat) (types.Value, bool) {
		v, ok := p(a)
		s, is := v.(cedar.String)
		return cedar.Boolean(ok && is && pattern.Match(s)), ok && is
	}
}

// plainSequence is l && r, or l || r: l alone counts where it is ends.
func plainSequence(l, r ast.IsNode, ends cedar.Boolean) plain {
	left, right := plainOf(l), plainOf(r)
	if left == nil || right == nil {
		return nil
	}
	return func(a *flat) (types.Value, bool) {
		v, ok := left(a)
		if b, is := v.(cedar.Boolean); !ok || !is || b == ends {
			return v, ok && is
		}
		v, ok = right(a)
		_, is := v.(cedar.Boolean)
		return v, ok && is
	}
}

// plainSet is a set of constants.
func plainSet(t ast.NodeTypeSet) plain {
	values := make([]types.Value, 0, len(t.Elements))
	for _, e := range t.Elements {
		c, ok := e.(ast.NodeValue)
		if !ok {
			return nil
		}
		values = append(values, c.Value)
	}
	set := cedar.NewSet(values...)
	return func(*flat) (types.Value, bool) { return set, true }
}

func plainBinary(n ast.IsNode) plain {
	switch t := n.(type) {
	case ast.NodeTypeEquals:
		return plainPair(t.Left, t.Right, func(l, r types.Value) (bool, bool) { return l.Equal(r), true })
	case ast.NodeTypeNotEquals:
		return plainPair(t.Left, t.Right, func(l, r types.Value) (bool, bool) { return !l.Equal(r), true })
	case ast.NodeTypeLessThan:
		return plainPair(t.Left, t.Right, ordered(func(l, r cedar.Long) bool { return l < r }))
	case ast.NodeTypeLessThanOrEqual:
		return plainPair(t.Left, t.Right, ordered(func(l, r cedar.Long) bool { return l <= r }))
	case ast.NodeTypeGreaterThan:
		return plainPair(t.Left, t.Right, ordered(func(l, r cedar.Long) bool { return l > r }))
	case ast.NodeTypeGreaterThanOrEqual:
		return plainPair(t.Left, t.Right, ordered(func(l, r cedar.Long) bool { return l >= r }))
	case ast.NodeTypeContains:
		return plainPair(t.Left, t.Right, func(l, r types.Value) (bool, bool) {
			set, ok := l.(cedar.Set)
			return ok && set.Contains(r), ok
		})
	default:
		return nil
	}
}

func plainPair(l, r ast.IsNode, f func(l, r types.Value) (result, ok bool)) plain {
	left, right := plainOf(l), plainOf(r)
	if left == nil || right == nil {
		return nil
	}
	return func(a *flat) (types.Value, bool) {
		lv, lok := left(a)
		rv, rok := right(a)
		if !lok || !rok {
			return nil, false
		}
		result, ok := f(lv, rv)
		return cedar.Boolean(result), ok
	}
}

// ordered compares numbers: other values have no order among those that arguments are.
func ordered(f func(l, r cedar.Long) bool) func(l, r types.Value) (bool, bool) {
	return func(l, r types.Value) (bool, bool) {
		ln, lok := l.(cedar.Long)
		rn, rok := r.(cedar.Long)
		return lok && rok && f(ln, rn), lok && rok
	}
}
