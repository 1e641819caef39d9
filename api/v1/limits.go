package v1

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxLimits is how many limits a configuration may hold.
const MaxLimits = 100

// countMost is the highest number that a limit may name.
const countMost = 1_000_000_000_000

// The values of Limit.Per.
const (
	PerTenant    = "tenant"
	PerPrincipal = "principal"
	PerKey       = "key"
	PerAddress   = "address"
	PerServer    = "server"
	PerTool      = "tool"
)

var limitDimensions = []string{PerTenant, PerPrincipal, PerKey, PerAddress, PerServer, PerTool}

// Dimensions are what a limit is per. One alone may stand for a list.
type Dimensions []string

// UnmarshalJSON reads a list, or text alone.
func (d *Dimensions) UnmarshalJSON(data []byte) error {
	if data = bytes.TrimSpace(data); len(data) > 0 && data[0] == '"' {
		*d = make(Dimensions, 1)
		return json.Unmarshal(data, &(*d)[0])
	}
	return json.Unmarshal(data, (*[]string)(d))
}

// DisplayName is name, or what the limit is per.
func (l *Limit) DisplayName() string {
	switch {
	case l.Name != "":
		return l.Name
	case len(l.Per) == 0:
		return "all"
	}
	return strings.Join(l.Per, "+")
}

var rateUnits = map[string]time.Duration{"s": time.Second, "m": time.Minute, "h": time.Hour}

// ParseRate reads what Limit.Rate holds.
func ParseRate(text string) (n int64, per time.Duration, err error) {
	count, unit, _ := strings.Cut(text, "/")
	per = rateUnits[unit]
	n, err = strconv.ParseInt(count, 10, 64)
	if err != nil || per == 0 {
		return 0, 0, errors.New("is not a rate; write a number of requests and s, m or h, like 50/s or 1000/m")
	}
	return n, per, checkCount(n)
}

// ParseByteRate reads what Limit.Bytes holds.
func ParseByteRate(text string) (n int64, per time.Duration, err error) {
	size, unit, _ := strings.Cut(text, "/")
	per = rateUnits[unit]
	n, ok := parseSize(size)
	if !ok || size == "" || per == 0 {
		return 0, 0, errors.New("is not a number of bytes in a time; write a size and s, m or h, like 10Mi/s")
	}
	return n, per, checkCount(n)
}

// ParseQuota reads what Limit.Quota holds.
func ParseQuota(text string) (n int64, month bool, err error) {
	count, unit, _ := strings.Cut(text, "/")
	n, err = strconv.ParseInt(count, 10, 64)
	if err != nil || unit != "day" && unit != "month" {
		return 0, false, errors.New("is not a quota; write a number of requests and day or month, like 100000/day")
	}
	return n, unit == "month", checkCount(n)
}

func checkCount(n int64) error {
	switch {
	case n < 1:
		return errors.New("permits nothing; the minimum is 1: to forbid something, use policies")
	case n > countMost:
		return errors.New("is out of bounds; the maximum is " + strconv.Itoa(countMost) + ": leave it out for no limit")
	}
	return nil
}

func (k *checker) limits(c *Config) {
	if n := len(c.Limits); n > MaxLimits {
		k.fail("limits", "has %d entries; at most %d are allowed", n, MaxLimits)
		return
	}
	names := map[string]int{}
	for i := range c.Limits {
		l, path := &c.Limits[i], "limits["+strconv.Itoa(i)+"]"
		if first, ok := names[l.DisplayName()]; ok {
			k.fail(path+".name", "%q is the name of limits[%d] too; give each a name of its own", clip(l.DisplayName()), first)
		} else {
			names[l.DisplayName()] = i
		}
		k.limit(path, l)
	}
}

func (k *checker) limit(path string, l *Limit) {
	for i, per := range l.Per {
		switch at := path + ".per[" + strconv.Itoa(i) + "]"; {
		case !slices.Contains(limitDimensions, per):
			k.fail(at, "%q is not one of %s", clip(per), strings.Join(limitDimensions, ", "))
		case slices.Contains(l.Per[:i], per):
			k.fail(at, "%q is there twice", per)
		}
	}
	for name, all := range map[string][]string{
		"servers": l.Servers, "tools": l.Tools, "tenants": l.Tenants, "groups": l.Groups, "methods": l.Methods,
	} {
		if all != nil && len(all) == 0 {
			k.fail(path+"."+name, "is empty, so that the limit would be for nothing; leave it out for all")
		}
		k.patterns(path+"."+name, all)
	}
	k.methods(path+".methods", l.Methods)
	k.amounts(path, l)
}

func (k *checker) amounts(path string, l *Limit) {
	if l.Rate == "" && l.Concurrency == nil && l.Bytes == "" && l.Quota == "" {
		k.fail(path, "limits nothing; give it a rate, concurrency, bytes or quota")
	}
	if l.Burst != nil && l.Rate == "" {
		k.fail(path+".burst", "is of a rate, which is missing")
	}
	if l.Rate != "" {
		_, _, err := ParseRate(l.Rate)
		k.amount(path+".rate", l.Rate, err)
	}
	if l.Bytes != "" {
		_, _, err := ParseByteRate(l.Bytes)
		k.amount(path+".bytes", l.Bytes, err)
	}
	if l.Quota != "" {
		_, _, err := ParseQuota(l.Quota)
		k.amount(path+".quota", l.Quota, err)
	}
}

func (k *checker) amount(path, text string, err error) {
	if err != nil {
		k.fail(path, "%q %v", clip(text), err)
	}
}

// Weigh tells whether a server has tools that count as more or less than one request.
func (s *Server) Weigh() bool {
	for _, settings := range s.Tools {
		if settings.Cost != nil {
			return true
		}
	}
	return false
}

// CostOf is as how many requests a call of a tool counts, by the server's own
// name of it. What is said of the tool counts before what a pattern says, the
// longest that fits.
func (s *Server) CostOf(tool string) int {
	best, cost := "", 1
	for pattern, settings := range s.Tools {
		switch {
		case settings.Cost == nil:
		case pattern == tool:
			return *settings.Cost
		case IsPattern(pattern) && Like(pattern, tool) && (len(pattern) > len(best) || len(pattern) == len(best) && pattern < best):
			best, cost = pattern, *settings.Cost
		}
	}
	return cost
}
