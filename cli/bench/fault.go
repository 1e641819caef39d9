package bench

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/toolcrib/toolcrib/mcp"
)

// Kinds of failures.
const (
	FailedStatus     = "status"         // HTTP says so, without a JSON-RPC error
	FailedCode       = "code"           // a JSON-RPC error
	FailedTool       = "isError"        // the tool says so
	FailedTimeout    = "timeout"        // no answer in time
	FailedConnection = "connection"     // it could not be made, or broke
	FailedAnswer     = "answer"         // it is none that the protocol knows
	FailedInput      = "input_required" // the tool asks, and nobody is there to say something
	FailedUnsent     = "unsent"         // it was due and did not get its turn before the end
	FailedUnanswered = "unanswered"     // the load was ended meanwhile
)

// fault is why a request failed: what failures are counted by, and an example.
type fault struct {
	failureKey
	example string
}

type failureKey struct {
	kind   string
	status int
	code   int64
	limit  string
}

// waited tells that the caller got no answer at all: its wait counts as a latency, which it is at least.
func (f *fault) waited() bool {
	return f.kind == FailedTimeout || f.kind == FailedUnsent || f.kind == FailedUnanswered
}

func failed(kind, format string, args ...any) *fault {
	return &fault{failureKey: failureKey{kind: kind}, example: cut(fmt.Sprintf(format, args...))}
}

// connectionFault is what became of a request that got no HTTP answer, or not all of it. Addresses may hold secrets: they are left out.
func connectionFault(ctx context.Context, err error) *fault {
	if e, ok := errors.AsType[*url.Error](err); ok {
		err = e.Err
	}
	var timeout net.Error
	switch {
	case errors.Is(context.Cause(ctx), context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		return failed(FailedTimeout, "no answer in time")
	case ctx.Err() != nil:
		return failed(FailedUnanswered, "the load ended")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return failed(FailedConnection, "the connection was closed before the answer was there")
	}
	return failed(FailedConnection, "%v", err)
}

// statusFault reads a refusal: its JSON-RPC error, if it has one, and of which limit a 429 is.
func statusFault(resp *http.Response, body []byte) *fault {
	f := failed(FailedStatus, "%s", resp.Status)
	f.status = resp.StatusCode
	var m mcp.Message
	if mcp.Scan(body, &m, mcp.Limits{}) == nil && m.Kind == mcp.KindError {
		of := errorFault(body, &m)
		f.kind, f.code, f.example, f.limit = FailedCode, of.code, of.example, of.limit
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		policy, _, _ := strings.Cut(resp.Header.Get("Ratelimit"), ";")
		f.limit = cmp.Or(f.limit, strings.Trim(policy, `"`), "not said")
	}
	return f
}

// errorFault reads a JSON-RPC error.
func errorFault(body []byte, m *mcp.Message) *fault {
	text, _ := mcp.Text(body, m.Get(mcp.KeyMessage), nil)
	f := failed(FailedCode, "%s", text)
	f.code = m.ErrorCode
	var data struct {
		Limit string `json:"limit"`
	}
	if json.Unmarshal(m.Get(mcp.KeyData).Of(body), &data) == nil {
		f.limit = cut(data.Limit)
	}
	return f
}

const exampleMost = 300 // bytes of what a server said that are kept

// cut shortens what a server said, and takes out what would steer a terminal.
func cut(text string) string {
	if len(text) > exampleMost {
		text = text[:exampleMost] + "…"
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(text, "�"))
}
