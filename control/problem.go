package control

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// Problem is an answer that is none (RFC 9457): what is wrong, with what, and what to do about it.
type Problem struct {
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	// Field names what is wrong in what was sent, as far as it is something of that, and Value what was there.
	Field  string `json:"field,omitempty"`
	Value  string `json:"value,omitempty"`
	Remedy string `json:"remedy,omitempty"`

	rule  string        // what decided, for the record
	after time.Duration // when to ask again, if that is known
}

// valueMost is how much of a value is told back.
const valueMost = 100

// Error is all of it in a sentence.
func (p *Problem) Error() string {
	text := p.Detail
	if p.Field != "" {
		text = p.Field + ": " + text
	}
	if p.Remedy != "" {
		text += "; " + p.Remedy
	}
	return text
}

// problem makes one. The format is of the detail.
func problem(status int, format string, args ...any) *Problem {
	return &Problem{Title: http.StatusText(status), Status: status, Detail: fmt.Sprintf(format, args...)}
}

// wrong is a problem with a field of what was sent.
func wrong(field, value, remedy, format string, args ...any) *Problem {
	p := problem(http.StatusBadRequest, format, args...)
	p.Field, p.Value, p.Remedy = field, clip(value), remedy
	return p
}

func clip(value string) string {
	if len(value) > valueMost {
		return value[:valueMost] + "…"
	}
	return value
}

func (p *Problem) do(remedy string, args ...any) *Problem {
	p.Remedy = fmt.Sprintf(remedy, args...)
	return p
}

func (p *Problem) write(w http.ResponseWriter) {
	if p.after > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(int64((p.after+time.Second-1)/time.Second), 10))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		return // the reader is gone
	}
}
