package front

import (
	"math"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// pulse is the progress that a client is told while nothing is heard of its request. Progress has to grow each time: by so little
// here that whatever the server says next is more.
type pulse struct {
	token []byte  // the client's, raw; empty when nothing is to be told
	last  float64 // that the client was told, whoever said it
	made  bool    // some of it is the gateway's own
}

const (
	pulseStep = 1e-6
	pulseText = `,"message":"still waiting for the answer"}}`
)

// promise has the client told of progress until the answer, if its request has a token for that.
func (s *sink) promise(in *mcp.Raw) {
	token := in.GetMeta(mcp.MetaProgressToken).Of(in.Body)
	if len(token) == 0 || token[0] != '"' && token[0] != '-' && (token[0] < '0' || token[0] > '9') {
		return // what is neither text nor number is no token, and goes into no notification
	}
	s.mu.Lock()
	s.token = append(s.token[:0], token...) // the request's own bytes may go before the timer does
	s.mu.Unlock()
}

// beat is the next notification; the caller holds the lock.
func (p *pulse) beat() []byte {
	p.last = max(p.last+pulseStep, math.Nextafter(p.last, math.Inf(1)))
	p.made = true
	b := append([]byte(`{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":`), p.token...)
	b = strconv.AppendFloat(append(b, `,"progress":`...), p.last, 'g', -1, 64)
	return append(b, pulseText...)
}

// goesOn tells whether a notification may be told: progress that would step back behind the gateway's own may not. The caller holds
// the lock.
func (p *pulse) goesOn(n *mcp.Raw) bool {
	if len(p.token) == 0 || n.Method != mcp.MethodProgress {
		return true
	}
	value, err := strconv.ParseFloat(string(n.Get(mcp.KeyProgress).Of(n.Body)), 64)
	if err != nil {
		return !p.made
	}
	if p.made && value <= p.last {
		return false
	}
	p.last = max(p.last, value)
	return true
}

func (s *sink) interval() time.Duration {
	if s.every > 0 {
		return s.every
	}
	return keepAlive
}
