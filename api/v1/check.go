package v1

import (
	"cmp"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// checker gathers the problems of a configuration, by path.
type checker struct {
	problems Problems
}

func (k *checker) fail(path, format string, args ...any) {
	k.problems = append(k.problems, Problem{Path: path, Message: fmt.Sprintf(format, args...)})
}

// tags checks what the tags of the fields of v say, all the way down: enum,
// pattern, min and max.
func (k *checker) tags(v reflect.Value, path string) {
	switch v.Kind() {
	case reflect.Pointer:
		if s, ok := reflect.TypeAssert[*Server](v); !v.IsNil() && (!ok || !s.Disabled) {
			k.tags(v.Elem(), path)
		}
	case reflect.Map:
		for _, key := range sortedKeys(v) {
			k.tags(v.MapIndex(reflect.ValueOf(key)), childPath(path, key))
		}
	case reflect.Slice:
		for i := range v.Len() {
			k.tags(v.Index(i), path+"["+strconv.Itoa(i)+"]")
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); jsonName(f) != "-" {
				k.field(v.Field(i), f.Tag, childPath(path, jsonName(f)))
				k.tags(v.Field(i), childPath(path, jsonName(f)))
			}
		}
	}
}

func sortedKeys(v reflect.Value) []string {
	keys := make([]string, 0, v.Len())
	for _, key := range v.MapKeys() {
		keys = append(keys, key.String())
	}
	slices.Sort(keys)
	return keys
}

func (k *checker) field(v reflect.Value, tag reflect.StructTag, path string) {
	if v.Kind() == reflect.Pointer {
		if v.IsNil() {
			return
		}
		v = v.Elem()
	}
	if enum := tag.Get("enum"); enum != "" && v.String() != "" {
		if all := strings.Split(enum, ","); !slices.Contains(all, v.String()) {
			k.fail(path, "%q is not one of %s", clip(v.String()), strings.Join(all, ", "))
		}
	}
	if p := tag.Get("pattern"); p != "" && v.Kind() == reflect.String && !pattern(p).MatchString(v.String()) {
		if like := tag.Get("like"); like != "" {
			k.fail(path, "%q is not %s", clip(v.String()), like)
		} else {
			k.fail(path, "%q does not match %s", clip(v.String()), p)
		}
	}
	k.bound(v, tag, path, "min", 1)
	k.bound(v, tag, path, "max", -1)
}

// bound checks a number against its tag min (sign 1) or max (sign -1).
func (k *checker) bound(v reflect.Value, tag reflect.StructTag, path, name string, sign int) {
	text := tag.Get(name)
	if text == "" || v.Kind() == reflect.Pointer {
		return // a nil pointer is a key left out
	}
	bound := reflect.New(v.Type()).Elem()
	if err := setText(bound, text); err != nil {
		panic("api/v1: " + name + " of " + path + ": " + err.Error())
	}
	if cmp.Compare(v.Int(), bound.Int())*sign < 0 {
		k.fail(path, "%v is out of bounds; the %simum is %s", v.Interface(), name, text)
	}
}

// patterns are those of this package's tags, compiled.
var patterns = struct {
	sync.Mutex
	compiled map[string]*regexp.Regexp
}{compiled: map[string]*regexp.Regexp{}}

func pattern(text string) *regexp.Regexp {
	patterns.Lock()
	defer patterns.Unlock()
	if patterns.compiled[text] == nil {
		patterns.compiled[text] = regexp.MustCompile(text)
	}
	return patterns.compiled[text]
}
