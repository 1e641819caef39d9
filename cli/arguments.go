package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode/utf8"

	"github.com/toolcrib/toolcrib/mcp"
)

// maxArguments bounds what is read from a file or from standard input: the
// size of the largest message that a gateway takes by default.
const maxArguments = 16 << 20

// arguments builds the arguments object of a call out of the object given with
// --args (empty for none), --arg and --text pairs. Values are never decoded, so
// numbers keep their digits.
func arguments(object []byte, args, texts []string) ([]byte, error) {
	object = bytes.TrimSpace(object)
	if len(object) == 0 {
		object = []byte("{}")
	}
	var known names
	if !utf8.Valid(object) || !json.Valid(object) || object[0] != '{' {
		return nil, usagef(`--args is not a JSON object; write --args '{"name": "value"}'`)
	}
	if err := json.Unmarshal(object, &known); err != nil {
		return nil, usagef("--args: %w", err)
	}
	set := make(map[string]bool, len(known))
	for _, name := range known {
		set[name] = true
	}
	members := []byte{'{'}
	add := func(flag, pair string, value func(string) []byte) error {
		name, text, has := strings.Cut(pair, "=")
		switch {
		case !has || name == "":
			return usagef("--%s %s: write --%s NAME=VALUE", flag, pair, flag)
		case !utf8.ValidString(pair):
			return usagef("--%s %s: not valid UTF-8", flag, name)
		case set[name]:
			return usagef("argument %q is given twice", name)
		}
		set[name] = true
		if len(members) > 1 {
			members = append(members, ',')
		}
		members = append(append(mcp.AppendString(members, name), ':'), value(text)...)
		return nil
	}
	for _, pair := range args {
		if err := add("arg", pair, jsonOrText); err != nil {
			return nil, err
		}
	}
	for _, pair := range texts {
		if err := add("text", pair, text); err != nil {
			return nil, err
		}
	}
	return join(members, object), nil
}

// jsonOrText is s itself when it is JSON, else s as a JSON string.
func jsonOrText(s string) []byte {
	if b := []byte(s); json.Valid(b) {
		return b
	}
	return text(s)
}

func text(s string) []byte { return mcp.AppendString(nil, s) }

// join puts members, which start with the brace of an object, before the
// members of object.
func join(members, object []byte) []byte {
	rest := object[1:]
	if len(members) > 1 && !bytes.Equal(bytes.TrimSpace(rest), []byte("}")) {
		members = append(members, ',')
	}
	return append(members, rest...)
}

// readArguments returns the value of --args: the text itself, the content of
// @FILE, or standard input for "-".
func readArguments(sys *system, value string) ([]byte, error) {
	switch {
	case value == "-":
		return readBounded(sys.stdin, "standard input")
	case strings.HasPrefix(value, "@"):
		f, err := os.Open(value[1:])
		if err != nil {
			return nil, usagef("--args: %w", err)
		}
		defer f.Close()
		return readBounded(f, value[1:])
	}
	return []byte(value), nil
}

func readBounded(r io.Reader, name string) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, maxArguments+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	if len(data) > maxArguments {
		return nil, usagef("%s holds more than %d bytes", name, maxArguments)
	}
	return data, nil
}
