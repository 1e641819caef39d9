package policy

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/types"
	"github.com/go-json-experiment/json/jsontext"
)

// The bounds of arguments that policies look at. Of arguments that no policy names nothing is kept.
const (
	argsDeepest = 64
	argsMost    = 20_000
)

// null is JSON's null, for which Cedar has no value. It is equal to itself alone.
var null = cedar.NewEntityUID("Null", "null")

// wanted are the arguments that policies look at.
type wanted struct {
	all   bool
	names map[string]bool // at the top
	// exact are the names of all arguments and their members, folded the same without case.
	exact, folded map[string]bool
	// sorted are the names of exact, where conditions on flat arguments decide.
	sorted []string
}

var errCase = errors.New("a key differs only in case from one that policies look at")

// blurred tells whether a key differs in case only from one that policies look at: servers may take the one for the other.
func (w *wanted) blurred(key string) bool { return !w.exact[key] && w.folded[withoutCase(key)] }

// withoutCase is the same for texts that are equal under Unicode case folding.
func withoutCase(s string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for other := unicode.SimpleFold(r); r >= utf8.RuneSelf && other != r; other = unicode.SimpleFold(other) {
			least = min(least, other)
		}
		if 'A' <= least && least <= 'Z' {
			least += 'a' - 'A'
		}
		return least
	}, s)
}

var errMany = fmt.Errorf("they have more than %d values where policies look", argsMost)

// arguments reads the arguments of a call, in place: as they are and, where that is asked for, with every number a decimal.
func arguments(data []byte, want *wanted, decimals bool) (args, numbers types.Value, err error) {
	r := readers.Get().(*argReader)
	r.want, r.decimals = want, decimals
	r.in = *bytes.NewBuffer(data)
	r.d.Reset(&r.in)
	defer func() {
		r.in = bytes.Buffer{}
		r.d.Reset(&r.in)
		r.want, r.n, r.numeric = nil, 0, false
		readers.Put(r)
	}()
	return r.read()
}

var readers = sync.Pool{New: func() any { return &argReader{d: jsontext.NewDecoder(new(bytes.Buffer))} }}

func (r *argReader) read() (args, numbers types.Value, err error) {
	if r.d.PeekKind() != '{' {
		return nil, nil, errors.New("they are not a JSON object")
	}
	args, numbers, err = r.object(0)
	if err == nil {
		_, err = r.d.ReadToken()
		if err == nil {
			err = errors.New("something follows them")
		} else if err.Error() == "EOF" {
			err = nil
		}
	}
	if err != nil {
		return nil, nil, readable(err)
	}
	return args, numbers, nil
}

// readable tells why arguments cannot be read, without showing what they hold.
func readable(err error) error {
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("a key is there twice")
	case strings.Contains(err.Error(), "UTF-8"), strings.Contains(err.Error(), "surrogate"):
		return errors.New("they hold text that is not Unicode")
	}
	if _, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		return errors.New("they are not valid JSON")
	}
	return err
}

type argReader struct {
	in       bytes.Buffer
	d        *jsontext.Decoder
	want     *wanted
	decimals bool // are asked for
	n        int
	// numeric tells that a number was read: until then, plain and with decimals are the same.
	numeric bool
}

// value reads the next value, as it is and with every number a decimal.
func (r *argReader) value(depth int) (plain, decimals types.Value, err error) {
	if r.n++; r.n > argsMost {
		return nil, nil, errMany
	}
	if depth > argsDeepest {
		return nil, nil, fmt.Errorf("they nest deeper than %d where policies look", argsDeepest)
	}
	switch r.d.PeekKind() {
	case '{':
		return r.object(depth)
	case '[':
		return r.array(depth)
	}
	token, err := r.d.ReadToken()
	if err != nil {
		return nil, nil, err
	}
	switch token.Kind() {
	case '"':
		plain = cedar.String(token.String())
	case 't', 'f':
		plain = cedar.Boolean(token.Bool())
	case 'n':
		plain = null
	default:
		text := token.String()
		if plain = number(text, false); r.decimals {
			r.numeric = true
			return plain, number(text, true), nil
		}
	}
	return plain, plain, nil
}

func (r *argReader) object(depth int) (plain, decimals types.Value, err error) {
	if _, err := r.d.ReadToken(); err != nil {
		return nil, nil, err
	}
	p, d := cedar.RecordMap{}, cedar.RecordMap(nil)
	if r.decimals {
		d = cedar.RecordMap{}
	}
	for r.d.PeekKind() != '}' {
		token, err := r.d.ReadToken()
		if err != nil {
			return nil, nil, err
		}
		name := token.String()
		if r.want.blurred(name) {
			return nil, nil, errCase
		}
		if depth == 0 && !r.want.all && !r.want.names[name] {
			if err := r.d.SkipValue(); err != nil {
				return nil, nil, err
			}
			continue
		}
		pv, dv, err := r.value(depth + 1)
		if err != nil {
			return nil, nil, err
		}
		if p[cedar.String(name)] = pv; d != nil {
			d[cedar.String(name)] = dv
		}
	}
	_, err = r.d.ReadToken()
	if plain = cedar.NewRecord(p); !r.numeric {
		return plain, plain, err
	}
	return plain, cedar.NewRecord(d), err
}

func (r *argReader) array(depth int) (plain, decimals types.Value, err error) {
	if _, err := r.d.ReadToken(); err != nil {
		return nil, nil, err
	}
	var p, d []types.Value
	for r.d.PeekKind() != ']' {
		pv, dv, err := r.value(depth + 1)
		if err != nil {
			return nil, nil, err
		}
		p, d = append(p, pv), append(d, dv)
	}
	_, err = r.d.ReadToken()
	if plain = cedar.NewSet(p...); !r.numeric {
		return plain, plain, err
	}
	return plain, cedar.NewSet(d...), err
}

// number is a JSON number as a Cedar value that is exactly equal to it: a long where it is whole, else a decimal, or
// a decimal always. What neither can hold is an entity Number that names it: a comparison with it cannot be evaluated.
func number(text string, decimal bool) types.Value {
	digits, exponent, ok := exact(text)
	if ok && exponent >= 0 && !decimal {
		if n, ok := whole(digits, exponent); ok {
			return cedar.Long(n)
		}
	}
	if ok && (decimal || exponent < 0) {
		if d, err := types.ParseDecimal(fixed(digits, exponent)); err == nil {
			return d
		}
	}
	return cedar.NewEntityUID("Number", cedar.String(text))
}

// exact takes a JSON number apart into its digits, without zeros at the end but with its sign, and the power of ten
// that they are multiplied by. It fails for what is far outside of what Cedar holds.
func exact(text string) (digits string, exponent int, ok bool) {
	mantissa, power, _ := strings.Cut(strings.ToLower(text), "e")
	whole, fraction, _ := strings.Cut(mantissa, ".")
	sign := ""
	if rest, neg := strings.CutPrefix(whole, "-"); neg {
		sign, whole = "-", rest
	}
	digits = strings.TrimLeft(whole+fraction, "0")
	trimmed := strings.TrimRight(digits, "0")
	exponent = len(digits) - len(trimmed) - len(fraction)
	if trimmed == "" {
		return "0", 0, true
	}
	if power != "" {
		var n int
		if len(power) > 6 {
			return "", 0, false
		}
		if _, err := fmt.Sscanf(power, "%d", &n); err != nil {
			return "", 0, false
		}
		exponent += n
	}
	return sign + trimmed, exponent, len(trimmed) <= 20 && exponent >= -4 && exponent <= 19
}

func whole(digits string, exponent int) (int64, bool) {
	n, err := strconv.ParseInt(digits+strings.Repeat("0", exponent), 10, 64)
	return n, err == nil
}

// fixed writes digits times a power of ten as Cedar's decimals are written: with one to four places.
func fixed(digits string, exponent int) string {
	if exponent >= 0 {
		return digits + strings.Repeat("0", exponent) + ".0"
	}
	rest, neg := strings.CutPrefix(digits, "-")
	if short := 1 - exponent - len(rest); short > 0 {
		rest = strings.Repeat("0", short) + rest
	}
	text := rest[:len(rest)+exponent] + "." + rest[len(rest)+exponent:]
	if neg {
		return "-" + text
	}
	return text
}
