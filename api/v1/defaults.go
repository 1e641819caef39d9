package v1

import (
	"encoding"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
)

// New returns a configuration with every default and no servers.
func New() *Config {
	c := &Config{}
	c.SetDefaults()
	return c
}

// SetDefaults gives every field that has its zero value its default, in c and
// in its servers, for a configuration that was not parsed. The state directory
// follows from the environment of the process.
func (c *Config) SetDefaults() {
	setDefaults(reflect.ValueOf(c).Elem())
	for _, s := range c.MCPServers {
		if s != nil {
			s.deriveType()
		}
	}
	if c.StateDir == "" {
		c.StateDir = defaultStateDir(os.LookupEnv)
	}
}

// SetDefaults gives every field of s that has its zero value its default, and
// derives Type from Command or URL, and URL from the first of URLs.
func (s *Server) SetDefaults() {
	setDefaults(reflect.ValueOf(s).Elem())
	s.deriveType()
}

func (s *Server) deriveType() {
	if s.URL == "" && len(s.URLs) > 0 {
		s.URL = s.URLs[0].URL
	}
	switch {
	case s.Type != "":
	case s.Command != "" || s.Package != "":
		s.Type = TypeStdio
	case s.URL != "":
		s.Type = TypeHTTP
	}
}

// The values of Server.Type.
const (
	TypeStdio = "stdio"
	TypeHTTP  = "http"
	TypeSSE   = "sse"
)

// setDefaults fills the zero fields of a struct, and of what it holds, from
// their default tags.
func setDefaults(v reflect.Value) {
	for i := range v.NumField() {
		f, tag := v.Field(i), v.Type().Field(i).Tag.Get("default")
		switch {
		case defaultsWithin(f):
		case tag == "" || !f.IsZero():
		default:
			if err := setText(f, tag); err != nil {
				panic("api/v1: default of " + v.Type().Field(i).Name + ": " + err.Error())
			}
		}
	}
}

// defaultsWithin has the structs that a field holds take their defaults, and
// tells whether it holds any.
func defaultsWithin(f reflect.Value) bool {
	switch elem := f.Type(); {
	case f.Kind() == reflect.Struct:
		setDefaults(f)
	case f.Kind() == reflect.Pointer && elem.Elem().Kind() == reflect.Struct:
		if !f.IsNil() {
			setDefaults(f.Elem())
		}
	case f.Kind() == reflect.Slice && elem.Elem().Kind() == reflect.Struct:
		for i := range f.Len() {
			setDefaults(f.Index(i))
		}
	case f.Kind() == reflect.Map:
		for _, key := range f.MapKeys() {
			held := reflect.New(elem.Elem()).Elem()
			held.Set(f.MapIndex(key))
			if !defaultsWithin(held) {
				return false
			}
			f.SetMapIndex(key, held)
		}
		return f.Len() > 0
	default:
		return false
	}
	return true
}

// setText sets a scalar field, or a list of texts with commas between.
func setText(f reflect.Value, text string) error {
	if u, ok := reflect.TypeAssert[encoding.TextUnmarshaler](f.Addr()); ok {
		return u.UnmarshalText([]byte(text))
	}
	switch f.Kind() {
	case reflect.Bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return errBool
		}
		f.SetBool(b)
	case reflect.Int:
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			return errInt
		}
		f.SetInt(n)
	case reflect.Slice:
		f.Set(reflect.ValueOf(strings.Split(text, ",")))
	case reflect.Pointer:
		f.Set(reflect.New(f.Type().Elem()))
		return setText(f.Elem(), text)
	default:
		f.SetString(text)
	}
	return nil
}

func defaultStateDir(env func(string) (string, bool)) string {
	// The XDG specification has relative values ignored.
	if dir, _ := env("XDG_STATE_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "toolcrib")
	}
	home, _ := env("HOME")
	if home == "" {
		return filepath.Join(os.TempDir(), "toolcrib-"+strconv.Itoa(os.Getuid()))
	}
	return filepath.Join(home, ".local", "state", "toolcrib")
}

// ServerNames returns the names of the servers that are not disabled, sorted.
func (c *Config) ServerNames() []string {
	names := make([]string, 0, len(c.MCPServers))
	for name, s := range c.MCPServers {
		if s != nil && !s.Disabled {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// PrefixOf returns what stands before the names of a server's tools and prompts
// at the aggregated endpoint, separator included ("files__"), or "" for a
// server whose prefix is empty.
func (c *Config) PrefixOf(name string) string {
	prefix := sanitise(name)
	if s := c.MCPServers[name]; s != nil && s.Prefix != nil {
		prefix = *s.Prefix
	}
	if prefix == "" {
		return ""
	}
	return prefix + c.Names.Separator
}

// sanitise replaces what may not stand in a tool's name.
func sanitise(name string) string {
	return strings.Map(func(r rune) rune {
		if isNameRune(r) {
			return r
		}
		return '_'
	}, name)
}

func isNameRune(r rune) bool {
	return r == '_' || r == '-' || r >= '0' && r <= '9' || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z'
}
