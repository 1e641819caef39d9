package v1

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// Duration is a length of time, written "5s", "1m30s" or "1d".
type Duration time.Duration

// D returns d as a time.Duration.
func (d Duration) D() time.Duration { return time.Duration(d) }

// String returns the shortest usual spelling: "5m", not "5m0s".
func (d Duration) String() string {
	s := time.Duration(d).String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// MarshalText writes d as String does.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText reads a number with a unit, or several: "1d12h". The units are
// those of [time.ParseDuration] and d, 24 hours. Negative lengths are refused.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := parseDuration(string(text))
	if err != nil {
		return err
	}
	*d = Duration(v)
	return nil
}

var (
	errDuration = errors.New(`is not a duration; write a number with a unit, like "30s", "5m", "1h30m" or "1d"`)
	errNegative = errors.New("is negative; write a duration that is not")
	errTooLong  = errors.New("is longer than can be counted; write at most 2000000h")
)

func parseDuration(s string) (time.Duration, error) {
	days, rest, found := strings.Cut(s, "d")
	if !found {
		days, rest = "", s
	}
	var total time.Duration
	if found {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return 0, errDuration
		}
		total = time.Duration(n) * 24 * time.Hour
	}
	if rest != "" {
		v, err := time.ParseDuration(rest)
		switch {
		case err == nil && v < 0 && !found:
			return 0, errNegative
		case err != nil && overlong(rest), err == nil && v > math.MaxInt64-total:
			return 0, errTooLong
		}
		if err != nil || v < 0 || rest[0] == '+' || rest[0] == '-' {
			return 0, errDuration
		}
		total += v
	} else if !found {
		return 0, errDuration
	}
	return total, nil
}

// overlong tells whether a text is one number with a unit that is only too large.
func overlong(s string) bool {
	unit := strings.TrimLeft(s, "0123456789")
	_, err := time.ParseDuration("1" + unit)
	return err == nil && unit != s
}

// Size is a number of bytes, written "16Mi", "64k" or "1048576". Ki, Mi, Gi
// are powers of 1024; k (or K), M, G are powers of 1000; a final B is allowed.
type Size int64

// String returns the size with the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range []struct {
		name string
		size Size
	}{{"Gi", 1 << 30}, {"Mi", 1 << 20}, {"Ki", 1 << 10}} {
		if s >= u.size && s%u.size == 0 {
			return strconv.FormatInt(int64(s/u.size), 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// MarshalText writes s as String does.
func (s Size) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a whole number with an optional unit.
func (s *Size) UnmarshalText(text []byte) error {
	v, ok := parseSize(string(text))
	if !ok {
		return errors.New(`is not a size; write bytes or a number with a unit, like "16Mi", "1Gi" or "64k"`)
	}
	*s = Size(v)
	return nil
}

// UnmarshalJSON reads a string, or a plain number of bytes.
func (s *Size) UnmarshalJSON(data []byte) error {
	if len(data) > 1 && data[0] == '"' {
		data = data[1 : len(data)-1]
	}
	return s.UnmarshalText(data)
}

var sizeUnits = map[string]int64{
	"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30,
}

func parseSize(text string) (int64, bool) {
	digits := strings.TrimRight(text, "kKMGiB")
	unit, ok := sizeUnits[strings.TrimSuffix(text[len(digits):], "B")]
	if !ok {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 63)
	if err != nil || int64(n) > math.MaxInt64/unit {
		return 0, false
	}
	return int64(n) * unit, true
}

// Secret is text that is never shown: printing, logging or marshalling it gives
// "[redacted]". Convert it to a string to use it.
type Secret string

const redacted = "[redacted]"

// String hides the secret; an empty one stays empty.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString hides the secret.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// Format hides the secret from every verb, %x among them.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(s.String())) }

// MarshalText hides the secret.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText keeps text as the secret.
func (s *Secret) UnmarshalText(text []byte) error {
	*s = Secret(text)
	return nil
}
