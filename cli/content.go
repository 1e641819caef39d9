package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
)

// callResult is what is shown of a result of tools/call.
type callResult struct {
	Content           []content       `json:"content"`
	StructuredContent json.RawMessage `json:"structuredContent"`
	IsError           bool            `json:"isError"`
	ResultType        string          `json:"resultType"`
}

// content is a content block; which members it has depends on its type.
type content struct {
	Type     string `json:"type"`
	Text     string `json:"text"`
	Data     string `json:"data"`
	MIMEType string `json:"mimeType"`
	Name     string `json:"name"`
	URI      string `json:"uri"`
	Resource struct {
		URI      string `json:"uri"`
		MIMEType string `json:"mimeType"`
		Text     string `json:"text"`
		Blob     string `json:"blob"`
	} `json:"resource"`
}

// writeResult shows a result as text: on standard output, or as the error of
// the command when it is one.
func writeResult(sys *system, result []byte) error {
	var r callResult
	if err := json.Unmarshal(result, &r); err != nil {
		return failf("the result has an unexpected shape (--output json shows it): %w", err)
	}
	var b strings.Builder
	for _, c := range r.Content {
		line := c.String()
		b.WriteString(line)
		if !strings.HasSuffix(line, "\n") {
			b.WriteByte('\n')
		}
	}
	if len(r.Content) == 0 && len(r.StructuredContent) > 0 {
		b.Write(append(bytes.TrimSpace(r.StructuredContent), '\n'))
	}
	text := b.String()
	if r.IsError || isTerminal(sys.stdout) {
		text = printable(text)
	}
	if err := verdict(r.IsError, r.ResultType, strings.TrimSpace(text)); err != nil {
		return err
	}
	_, err := io.WriteString(sys.stdout, text)
	return err
}

// String is the text of a block, or a line in brackets that stands for it.
func (c *content) String() string {
	switch c.Type {
	case "text":
		return c.Text
	case "image", "audio":
		return fmt.Sprintf("[%s %s, %d bytes]", c.Type, c.MIMEType, decodedLen(c.Data))
	case "resource_link":
		return fmt.Sprintf("[resource %s: %s]", c.Name, c.URI)
	case "resource":
		if c.Resource.Text != "" {
			return c.Resource.Text
		}
		return fmt.Sprintf("[resource %s %s, %d bytes]", c.Resource.URI, c.Resource.MIMEType, decodedLen(c.Resource.Blob))
	default:
		return fmt.Sprintf("[content of type %q; --output json shows it]", c.Type)
	}
}

// decodedLen is the size of what base64 text stands for.
func decodedLen(base64 string) int {
	return len(strings.TrimRight(base64, "=")) * 3 / 4
}

// printable replaces control characters, which would steer the terminal, by
// the replacement character. Newlines and tabs stay.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// isTerminal tells whether a person reads w, and with it control sequences work.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok || os.Getenv("TERM") == "dumb" {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
