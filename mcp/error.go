package mcp

import (
	"net/http"
	"strconv"
)

// Error codes of JSON-RPC 2.0 and of the protocol (2026-07-28 basic/index
// "Error Codes"). The last two are of the legacy era only.
const (
	CodeParse              = -32700
	CodeInvalidRequest     = -32600
	CodeMethodNotFound     = -32601
	CodeInvalidParams      = -32602
	CodeInternal           = -32603
	CodeHeaderMismatch     = -32020
	CodeMissingCapability  = -32021
	CodeUnsupportedVersion = -32022
	CodeResourceNotFound   = -32002
	CodeURLElicitation     = -32042
)

// Error is a JSON-RPC error object.
type Error struct {
	Code    int64
	Message string
	Data    []byte // raw JSON, or nil
}

// Error returns the message and the code.
func (e *Error) Error() string {
	return e.Message + " (" + strconv.FormatInt(e.Code, 10) + ")"
}

// HTTPStatus returns the HTTP status of an answer with that error code as
// 2026-07-28 has it: 404 for an unknown method, 400 for what is wrong with the
// request itself, 200 for all others.
func HTTPStatus(code int64) int {
	switch code {
	case CodeMethodNotFound:
		return http.StatusNotFound
	case CodeParse, CodeInvalidRequest, CodeInvalidParams,
		CodeHeaderMismatch, CodeMissingCapability, CodeUnsupportedVersion:
		return http.StatusBadRequest
	}
	return http.StatusOK
}

// AppendError appends the JSON-RPC error response to the request with the raw
// id; a nil id becomes null.
func AppendError(dst, id []byte, e *Error) []byte {
	dst = appendHead(dst, id)
	dst = append(dst, `,"error":{"code":`...)
	dst = strconv.AppendInt(dst, e.Code, 10)
	dst = append(dst, `,"message":`...)
	dst = AppendString(dst, e.Message)
	if len(e.Data) > 0 {
		dst = append(append(dst, `,"data":`...), e.Data...)
	}
	return append(dst, "}}"...)
}

// AppendResult appends the JSON-RPC response with the raw result to the
// request with the raw id.
func AppendResult(dst, id, result []byte) []byte {
	dst = appendHead(dst, id)
	dst = append(append(dst, `,"result":`...), result...)
	return append(dst, '}')
}

func appendHead(dst, id []byte) []byte {
	dst = append(dst, `{"jsonrpc":"2.0","id":`...)
	if len(id) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, id...)
}
