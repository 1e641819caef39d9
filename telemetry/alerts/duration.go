package alerts

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// Duration is a time as Prometheus writes it: 5m, 1h30m, 7d.
type Duration string

var (
	durationForm = regexp.MustCompile(`^([0-9]+(ms|s|m|h|d|w))+$`)
	durationPart = regexp.MustCompile(`([0-9]+)(ms|s|m|h|d|w)`)
)

const (
	day = 24 * time.Hour
	// longest is far more than a Prometheus keeps.
	longest = 400 * day
)

var units = map[string]time.Duration{
	"ms": time.Millisecond, "s": time.Second, "m": time.Minute, "h": time.Hour, "d": day, "w": 7 * day,
}

// parse is the time as a number.
func (d Duration) parse() (time.Duration, error) {
	if !durationForm.MatchString(string(d)) {
		return 0, fmt.Errorf("%q is not a time like 30s, 5m, 1h30m or 7d", string(d))
	}
	var sum time.Duration
	for _, part := range durationPart.FindAllStringSubmatch(string(d), -1) {
		n, err := strconv.Atoi(part[1])
		unit := units[part[2]]
		if err != nil || time.Duration(n) > longest/unit || sum > longest {
			return 0, fmt.Errorf("%q is longer than the %d days that can be asked for", string(d), int(longest/day))
		}
		sum += time.Duration(n) * unit
	}
	return sum, nil
}
