package control

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// decode reads the body into v, which has all members there may be. No member may come twice, or in another spelling: what looks at
// the body on its way must see the same as this.
func (q *asked) decode(v any) error {
	if ct, _, err := mime.ParseMediaType(q.Header.Get("Content-Type")); err != nil || ct != "application/json" {
		return problem(http.StatusUnsupportedMediaType, "Content-Type is %.80q", q.Header.Get("Content-Type")).do("send application/json")
	}
	control := http.NewResponseController(q.w)
	_ = control.SetReadDeadline(time.Now().Add(bodyTime))
	defer func() { _ = control.SetReadDeadline(time.Time{}) }()
	body, err := io.ReadAll(http.MaxBytesReader(q.w, q.Body, bodyMost))
	if err != nil {
		return problem(http.StatusBadRequest, "the body did not arrive whole, or has more than %d bytes: %v", bodyMost, err)
	}
	if err := json.Unmarshal(body, v, json.RejectUnknownMembers(true)); err != nil {
		return misread(err)
	}
	return nil
}

// misread says what is wrong with a body, and where.
func misread(err error) *Problem {
	p := problem(http.StatusBadRequest, "the body is not what this takes: %.300s", err).do("docs/management.md says what it takes")
	var at jsontext.Pointer
	if e, ok := errors.AsType[*jsontext.SyntacticError](err); ok {
		at = e.JSONPointer
	}
	if e, ok := errors.AsType[*json.SemanticError](err); ok {
		at = e.JSONPointer
	}
	p.Field = clip(strings.Join(slices.Collect(at.Tokens()), "."))
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		p.Detail, p.Remedy = "comes twice", "give it once"
	case errors.Is(err, json.ErrUnknownName):
		p.Detail = "is an unknown field; upper and lower case differ"
	}
	return p
}
