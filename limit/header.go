package limit

import (
	"net/http"
	"strconv"
	"time"
)

// The fields of draft-ietf-httpapi-ratelimit-headers.
const (
	headerLimit  = "RateLimit"
	headerPolicy = "RateLimit-Policy"
)

// headerMost is the longest value of RateLimit: a name in quotes and two numbers.
const headerMost = 128

// describe makes what headers say of an amount of requests in a time: of a rate the burst, and in what time it comes back.
func (m *meter) describe(n int64, window time.Duration) {
	m.told = true
	quoted := strconv.Quote(m.rule.name) // names have no character that a structured field could not
	m.remain = quoted + ";r="
	m.policy = []string{quoted + ";q=" + strconv.FormatInt(n, 10) + ";w=" + strconv.FormatInt(int64((window+time.Second-1)/time.Second), 10)}
}

// Headers tells clients what is left of the limit that they will meet first. The values are good until the ticket is used again.
func (t *Ticket) Headers(h http.Header) {
	m := t.tight.m
	if m == nil || !m.told {
		return
	}
	left, reset := max(0, t.tight.left), t.tight.wait
	if reset == 0 {
		reset = m.reset(t.tight.left, t.tight.at)
	}
	var scratch [headerMost]byte
	b := append(scratch[:0], m.remain...)
	b = strconv.AppendInt(b, int64(left), 10)
	b = strconv.AppendInt(append(b, ";t="...), int64((reset+time.Second-1)/time.Second), 10)
	h[headerPolicy] = m.policy
	t.value[0] = string(b)
	h[headerLimit] = t.value[:]
}
