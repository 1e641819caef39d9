package v1

import (
	"errors"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a configuration.
type Problem struct {
	// Path names the key: mcpServers.files.args[1]. It is empty for the file as
	// a whole.
	Path string `json:"path"`
	// Line is the line in the file, from 1; 0 when the problem has none.
	Line int `json:"line,omitempty"`
	// Message says what is wrong and how to mend it. It never holds a secret.
	Message string `json:"message"`
}

// String returns "line 3: path: message".
func (p Problem) String() string {
	var b strings.Builder
	if p.Line > 0 {
		b.WriteString("line " + strconv.Itoa(p.Line) + ": ")
	}
	if p.Path != "" {
		b.WriteString(p.Path + ": ")
	}
	b.WriteString(p.Message)
	return b.String()
}

// Problems is everything that is wrong with a configuration, by line.
type Problems []Problem

// Error returns the problems, one a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// Err returns ps as an error, nil when there is no problem.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	return ps
}

var (
	errBool = errors.New("is not true or false")
	errInt  = errors.New("is not a whole number")
)
