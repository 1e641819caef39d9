package errs_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

func TestTable(t *testing.T) {
	tests := []struct {
		kind    errs.Kind
		http    int
		code    int64
		outcome string
	}{
		{errs.Internal, 200, -32603, "internal"},
		{errs.Parse, 400, -32700, "parse"},
		{errs.BadRequest, 400, -32600, "bad_request"},
		{errs.Invalid, 400, -32602, "invalid"},
		{errs.NotFound, 400, -32602, "not_found"},
		{errs.MethodNotFound, 404, -32601, "method_not_found"},
		{errs.HeaderMismatch, 400, -32020, "header_mismatch"},
		{errs.MissingCapability, 400, -32021, "missing_capability"},
		{errs.UnsupportedVersion, 400, -32022, "unsupported_version"},
		{errs.Unauthenticated, 401, 401, "unauthenticated"},
		{errs.Forbidden, 403, 403, "forbidden"},
		{errs.InsufficientScope, 403, 403, "insufficient_scope"},
		{errs.SessionNotFound, 404, 404, "session_not_found"},
		{errs.NotAcceptable, 406, 406, "not_acceptable"},
		{errs.MediaType, 415, 415, "media_type"},
		{errs.TooLarge, 413, 413, "too_large"},
		{errs.Overloaded, 503, -32603, "overloaded"},
		{errs.Unavailable, 200, -32603, "unavailable"},
		{errs.Timeout, 200, -32603, "timeout"},
		{errs.Protocol, 200, -32603, "protocol"},
		{errs.Unsupported, 200, -32603, "unsupported"},
		{errs.Canceled, 499, -32603, "canceled"},
		{errs.Draining, 503, -32603, "draining"},
		{errs.NoEndpoint, 404, 404, "no_endpoint"},
		{errs.Lost, 200, -32603, "lost"},
		{errs.Limited, 429, 429, "limited"},
	}
	seen := map[string]bool{}
	for i, tt := range tests {
		if int(tt.kind) != i {
			t.Errorf("row %d is %s: a kind is missing here", i, tt.kind)
		}
		if got := tt.kind.HTTP(); got != tt.http {
			t.Errorf("%s: HTTP %d, want %d", tt.kind, got, tt.http)
		}
		if got := tt.kind.Code(); got != tt.code {
			t.Errorf("%s: code %d, want %d", tt.kind, got, tt.code)
		}
		if got := tt.kind.Outcome(); got != tt.outcome || seen[got] {
			t.Errorf("%s: outcome %q, want %q, once", tt.kind, got, tt.outcome)
		}
		if tt.kind.String() == "" {
			t.Errorf("kind %d has no text", i)
		}
		seen[tt.outcome] = true
	}
	if beyond := errs.Kind(len(tests)); beyond.Outcome() != "internal" {
		t.Errorf("kind %d (%s) is not in this table", beyond, beyond)
	}
	if got := errs.Kind(255).HTTP(); got != 200 {
		t.Errorf("unknown kind: HTTP %d, want that of internal", got)
	}
}

// TestCodesOfTheWire holds the kinds that the specification has codes for against the wire package.
func TestCodesOfTheWire(t *testing.T) {
	for kind, code := range map[errs.Kind]int64{
		errs.Parse:              mcp.CodeParse,
		errs.BadRequest:         mcp.CodeInvalidRequest,
		errs.Invalid:            mcp.CodeInvalidParams,
		errs.MethodNotFound:     mcp.CodeMethodNotFound,
		errs.HeaderMismatch:     mcp.CodeHeaderMismatch,
		errs.MissingCapability:  mcp.CodeMissingCapability,
		errs.UnsupportedVersion: mcp.CodeUnsupportedVersion,
		errs.Internal:           mcp.CodeInternal,
	} {
		if kind.Code() != code || kind.HTTP() != mcp.HTTPStatus(code) {
			t.Errorf("%s: code %d, HTTP %d; the wire has %d, %d", kind, kind.Code(), kind.HTTP(), code, mcp.HTTPStatus(code))
		}
	}
}

func TestMessage(t *testing.T) {
	tests := []struct {
		err  *errs.Error
		want string
	}{
		{errs.E("front", errs.Parse, "body ends early"), "front: body ends early"},
		{errs.E(`server "files"`, errs.Unavailable, "start: %w", io.EOF), `server "files": start: EOF`},
		{&errs.Error{Op: "front", Err: io.EOF}, "front: EOF"},
		{&errs.Error{Op: "front", Msg: "said", Err: io.EOF}, "front: said"},
		{&errs.Error{Kind: errs.Draining}, "draining"},
	}
	for _, tt := range tests {
		if got := tt.err.Error(); got != tt.want {
			t.Errorf("got %q, want %q", got, tt.want)
		}
	}
}

func TestCause(t *testing.T) {
	if err := errs.E("x", errs.Protocol, "read: %w", io.ErrUnexpectedEOF); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error("the cause of one %w is lost")
	}
	two := errs.E("x", errs.Protocol, "%w and %w", io.EOF, os.ErrClosed)
	if !errors.Is(two, io.EOF) || !errors.Is(two, os.ErrClosed) {
		t.Error("a cause of two %w is lost")
	}
	if err := errs.E("x", errs.Protocol, "plain %d", 1); err.Err != nil {
		t.Errorf("made up a cause: %v", err.Err)
	}
}

func TestOf(t *testing.T) {
	inner := errs.E("front", errs.TooLarge, "too big")
	tests := []struct {
		name string
		err  error
		want errs.Kind
	}{
		{"itself", inner, errs.TooLarge},
		{"wrapped", fmt.Errorf("reading: %w", inner), errs.TooLarge},
		{"outermost wins", errs.E("gateway", errs.Overloaded, "list: %w", inner), errs.Overloaded},
		{"canceled", fmt.Errorf("call: %w", context.Canceled), errs.Canceled},
		{"context deadline", fmt.Errorf("call: %w", context.DeadlineExceeded), errs.Timeout},
		{"network deadline", fmt.Errorf("read: %w", os.ErrDeadlineExceeded), errs.Timeout},
		{"stranger", io.ErrUnexpectedEOF, errs.Internal},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := errs.Of(tt.err)
			if got == nil || got.Kind != tt.want {
				t.Fatalf("got %+v, want kind %s", got, tt.want)
			}
		})
	}
	if got := errs.Of(nil); got != nil {
		t.Errorf("Of(nil) = %v", got)
	}
	if got := errs.Of(io.ErrUnexpectedEOF); got.Error() != "unexpected EOF" || !errors.Is(got, io.ErrUnexpectedEOF) {
		t.Errorf("a stranger lost its text or itself: %v", got)
	}
}
