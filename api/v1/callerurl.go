package v1

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// A url may refer to the caller. Where is told by what stands before the
// reference, so that nothing that a reference yields can change it:
//
//	https://db.${tenant:zone}.internal/t/${principal.tenant}/mcp?as=${principal.subject}
//	        host                       segment of the path      query
//	${tenant:address}/mcp
//	base
//
// Base and host are for what the operator wrote for each tenant; who calls never
// chooses where to.

// urlPlace is where in a url a reference stands.
type urlPlace int

const (
	urlBase urlPlace = iota // the beginning: scheme, host and perhaps a path
	urlHost
	urlPath
	urlQuery
	urlNowhere // the scheme, or right behind a base
)

// urlParts calls f for the parts of a url in order: literal text, or a reference
// and its place.
func urlParts(value string, f func(literal, ref string, at urlPlace)) {
	at, before := urlBase, ""
	callerParts(value, func(literal, ref string) {
		if ref != "" {
			f("", ref, at)
			if at == urlBase {
				at = urlNowhere
			}
			return
		}
		if literal == "" {
			return
		}
		f(literal, "", at)
		before += literal
		at = placeAfter(before, literal, at)
	})
}

// placeAfter is the place behind a literal; before is all literal text so far.
func placeAfter(before, literal string, at urlPlace) urlPlace {
	if at == urlBase || at == urlNowhere && strings.Contains(before, "://") {
		_, rest, ok := strings.Cut(before, "://")
		if !ok {
			return urlNowhere
		}
		at, literal = urlHost, rest
	}
	if at == urlNowhere { // behind a base
		at = urlPath
	}
	if at == urlHost && strings.ContainsAny(literal, "/?#") {
		at = urlPath
	}
	if at == urlPath && strings.ContainsAny(literal, "?#") {
		at = urlQuery
	}
	return at
}

var (
	errURLScheme = errors.New("stands in the scheme, which is http:// or https://; write it, or have ${tenant:NAME} begin the url")
	errURLBehind = errors.New("stands right behind the one that begins the url; put a / between them")
)

// urlHostText is what may stand in a host: labels, and perhaps a port.
var urlHostText = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?$`)

// fillURL replaces the references of a url. The outcome is one that validation
// lets through.
func (who *Caller) fillURL(value string) (filled string, err error) {
	if !strings.Contains(value, "${") {
		return value, nil
	}
	var out strings.Builder
	urlParts(value, func(literal, ref string, at urlPlace) {
		if ref == "" || err != nil {
			out.WriteString(literal)
			return
		}
		var text string
		if text, err = who.yield(ref, at.unfit); err == nil {
			out.WriteString(at.escape(text))
		}
	})
	if err == nil {
		err = goodURL(out.String())
	}
	if err != nil {
		return "", fmt.Errorf("url: %w", err)
	}
	return out.String(), nil
}

// goodURL checks a url that references were put into. The error does not show it.
func goodURL(text string) error {
	k := &checker{}
	u := k.httpURL("url", text)
	if u == nil {
		return fmt.Errorf("what its references stand for makes no url of it: it %s", k.problems[0].Message)
	}
	for segment := range strings.SplitSeq(u.EscapedPath(), "/") {
		if plain, err := url.PathUnescape(segment); err != nil || plain == "." || plain == ".." {
			return errors.New("what its references stand for leads out of its path")
		}
	}
	return nil
}

// escape is text as it stands at a place.
func (at urlPlace) escape(text string) string {
	switch at {
	case urlPath:
		return url.PathEscape(text)
	case urlQuery:
		return url.QueryEscape(text)
	}
	return text
}

// unfit is the fitness of a place.
func (at urlPlace) unfit(_, text string) string {
	switch at {
	case urlBase:
		return unfitForBase(text)
	case urlHost:
		if !urlHostText.MatchString(text) {
			return "is no host or part of one"
		}
	case urlPath:
		return unfitForSegment(text)
	case urlQuery:
		if text == "" || strings.ContainsFunc(text, isControl) {
			return "is empty or holds a control character, which cannot be part of a url"
		}
	case urlNowhere:
		return "has no place there"
	}
	return ""
}

func unfitForBase(text string) string {
	k := &checker{}
	switch u := k.httpURL("", text); {
	case u == nil:
		return "cannot begin a url: it " + k.problems[0].Message
	case u.RawQuery != "" || u.ForceQuery:
		return "has a query, behind which no path can follow"
	}
	return ""
}

// unfitForSegment refuses what would lead to another path, also where a server
// takes a path apart after it has decoded it, once or twice.
func unfitForSegment(text string) string {
	switch {
	case text == "" || text == "." || text == "..":
		return "is empty, . or .., which cannot be part of a url's path"
	case strings.ContainsAny(text, `/\%`) || strings.ContainsFunc(text, isControl):
		return `holds one of / \ % or a control character, which cannot be part of a url's path`
	}
	return ""
}

// templateURL checks a url with references to the caller.
func (k *checker) templateURL(path, value string) {
	var sample strings.Builder
	var wrong error
	urlParts(value, func(literal, ref string, at urlPlace) {
		sample.WriteString(literal)
		if ref != "" && wrong == nil {
			sample.WriteString(at.sample())
			wrong = at.allows(ref, strings.HasPrefix(value, "${"))
		}
	})
	if rest, ok := behindBase(value); ok && wrong == nil && rest != "" && rest[0] != '/' && rest[0] != '?' && rest[0] != '$' {
		wrong = errors.New("goes on right behind the reference that begins it; put a / between them")
	}
	if wrong != nil {
		k.fail(path, "%v", wrong)
		return
	}
	k.httpURL(path, sample.String())
}

// behindBase is what follows the reference that begins a url.
func behindBase(value string) (rest string, ok bool) {
	at := callerRef.FindStringIndex(value)
	if at == nil || at[0] != 0 {
		return "", false
	}
	return value[at[1]:], true
}

// sample is text that is fit for a place.
func (at urlPlace) sample() string {
	if at == urlBase {
		return "http://x"
	}
	return "x"
}

// allows tells why a reference may not stand at a place.
func (at urlPlace) allows(ref string, based bool) error {
	operators := strings.HasPrefix(ref, refVar)
	switch {
	case strings.HasPrefix(ref, refCredential):
		return fmt.Errorf("has ${%s}; a credential may stand under env and headers only, since urls are logged on their way", ref)
	case at == urlNowhere && based:
		return fmt.Errorf("has ${%s}, which %w", ref, errURLBehind)
	case at == urlNowhere:
		return fmt.Errorf("has ${%s}, which %w", ref, errURLScheme)
	case (at == urlBase || at == urlHost) && !operators:
		return fmt.Errorf("has ${%s} where it would choose the host; only ${tenant:NAME} may, which the operator writes for each tenant", ref)
	}
	return nil
}
