package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"time"
)

// The eras that callers may be of. The zero Era is the newest that the server speaks.
const (
	EraModern Era = "modern"
	EraLegacy Era = "legacy"
	EraBoth   Era = "both" // callers of both, by turns
)

// Era is how callers speak.
type Era string

// Bounds of a load.
const (
	MaxRate        = 100_000          // requests a second
	MaxConcurrency = 10_000           // callers of a closed loop
	MaxDuration    = 24 * time.Hour   // with the warm-up
	MinDuration    = time.Millisecond // without it
	MaxTimeout     = 30 * time.Minute

	callersMost = 2048 // of an open loop, at once
)

// Options are a load and what is expected of it.
type Options struct {
	URL     string
	Target  string // the URL as it may be shown
	Token   string // bearer token, may be empty
	Version string // of this program, for clientInfo

	Mix   Mix
	Tools []ToolCall // to call; without any those that the server says only read
	Era   Era

	Rate        float64 // requests a second of an open loop; 0 for a closed loop
	Concurrency int     // callers of a closed loop
	Think       time.Duration
	Duration    time.Duration
	Warmup      time.Duration // goes before, and is not counted
	Timeout     time.Duration // of one request

	MaxErrors *float64      // percent, an objective where it is given
	P99       time.Duration // an objective where it is not 0

	// Progress is called about once a second while the load is on, from one goroutine.
	Progress func(Progress)

	dial  func(ctx context.Context, network, address string) (net.Conn, error) // for tests
	queue func() time.Duration                                                 // own delay in a closed loop; for tests
	busy  func()                                                               // what keeps the generator from its work; for tests
}

// ToolCall is a tool and the arguments that it is called with.
type ToolCall struct {
	Name string
	Args []byte // a JSON object; empty for those that its schema tells
}

// Validate names the first flag whose value cannot be.
func (o *Options) Validate() error {
	switch {
	case (o.Rate > 0) == (o.Concurrency > 0):
		return errors.New("give either --rate or --concurrency")
	case o.Rate > MaxRate:
		return fmt.Errorf("--rate %s/s is more than one load generator sends; at most %d/s", strconv.FormatFloat(o.Rate, 'f', -1, 64), MaxRate)
	case o.Concurrency > MaxConcurrency:
		return fmt.Errorf("--concurrency %d is too much; at most %d", o.Concurrency, MaxConcurrency)
	case o.Think < 0:
		return fmt.Errorf("--think %s is negative", o.Think)
	case o.Think > 0 && o.Rate > 0:
		return errors.New("--think goes with --concurrency: with --rate requests come when they are due")
	case o.Duration < MinDuration:
		return fmt.Errorf("--duration %s is too short; at least %s", o.Duration, MinDuration)
	case o.Warmup < 0:
		return fmt.Errorf("--warmup %s is negative", o.Warmup)
	case o.Duration > MaxDuration || o.Warmup > MaxDuration || o.Duration+o.Warmup > MaxDuration:
		return fmt.Errorf("--warmup and --duration are more than %s together", MaxDuration)
	case o.Timeout <= 0 || o.Timeout > MaxTimeout:
		return fmt.Errorf("--timeout %s must be longer than 0s and at most %s", o.Timeout, MaxTimeout)
	case o.Think > MaxDuration:
		return fmt.Errorf("--think %s is too long; at most %s", o.Think, MaxDuration)
	}
	return o.checkObjectives()
}

func (o *Options) checkObjectives() error {
	switch {
	case o.P99 < 0:
		return fmt.Errorf("--p99 %s is negative", o.P99)
	case o.MaxErrors != nil && !(*o.MaxErrors >= 0 && *o.MaxErrors <= 100):
		return fmt.Errorf("--max-errors %g is no percentage; write a number from 0 to 100", *o.MaxErrors)
	}
	return nil
}

// Loopback tells whether a URL is of this machine, by its address or by the name localhost: other names may lead elsewhere.
func Loopback(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}
