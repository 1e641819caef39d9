package v1

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// The launchers of packages: what stands before the colon of a reference.
const (
	LauncherNPX = "npx"
	LauncherUVX = "uvx"
	LauncherGo  = "go"
)

// Package is a reference to a server in a package registry.
type Package struct {
	// Launcher is npx, uvx or go.
	Launcher string
	// Name is the name of the package; for go the path of a module, or of a
	// program within one.
	Name string
	// Version is an exact version, a tag (latest) or what begins a version (1.2);
	// empty when the reference has none.
	Version string
}

// maxReferenceLength bounds a reference; npm allows names of 214 characters.
const maxReferenceLength = 512

var (
	npmName   = regexp.MustCompile(`^(@[A-Za-z0-9~][A-Za-z0-9._~-]*/)?[A-Za-z0-9~][A-Za-z0-9._~-]*$`)
	pypiName  = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?(\[[A-Za-z0-9][A-Za-z0-9._-]*(,[A-Za-z0-9][A-Za-z0-9._-]*)*\])?$`)
	goPath    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9-]*(\.[A-Za-z0-9-]+)+(/[A-Za-z0-9_~][A-Za-z0-9._~-]*)+$`)
	anyTag    = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._+!-]*$`)
	exactNPM  = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?$`)
	exactPyPI = regexp.MustCompile(`^([0-9]+!)?[0-9]+(\.[0-9]+)*((a|b|rc|\.post|\.dev)[0-9]+)*(\+[A-Za-z0-9.]+)?$`)
	exactGo   = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+(-[0-9A-Za-z.-]+)?(\+incompatible)?$`)
)

var errPackage = errors.New("is not a package; write npx:NAME@VERSION, uvx:NAME==VERSION or go:MODULE@VERSION")

// IsPackage tells whether text is meant as a reference to a package.
func IsPackage(text string) bool {
	launcher, _, ok := strings.Cut(text, ":")
	return ok && (launcher == LauncherNPX || launcher == LauncherUVX || launcher == LauncherGo)
}

// ParsePackage reads npx:NAME@VERSION, uvx:NAME==VERSION or go:MODULE@VERSION;
// the version may be left out. Addresses, aliases, paths and ranges, which the
// launchers themselves would take, are refused.
func ParsePackage(text string) (Package, error) {
	launcher, rest, _ := strings.Cut(text, ":")
	if !IsPackage(text) || len(text) > maxReferenceLength {
		return Package{}, errPackage
	}
	p := Package{Launcher: launcher}
	separator, name := "@", npmName
	switch launcher {
	case LauncherUVX:
		separator, name = "==", pypiName
	case LauncherGo:
		name = goPath
	}
	from := 0
	if strings.HasPrefix(rest, "@") { // the scope of an npm package
		from = 1
	}
	at, versioned := strings.Index(rest[from:], separator), false
	if p.Name = rest; at >= 0 {
		p.Name, p.Version, versioned = rest[:from+at], rest[from+at+len(separator):], true
	}
	switch {
	case launcher == LauncherUVX && !versioned && strings.Contains(rest, "@"):
		return Package{}, errors.New("has an @; write uvx:NAME==VERSION")
	case !name.MatchString(p.Name) || strings.Contains(p.Name, ".."):
		return Package{}, fmt.Errorf("has not the name of a package between %q and the version; %s", launcher+":", shapes[launcher])
	case versioned && (!anyTag.MatchString(p.Version) || strings.Contains(p.Version, "..")):
		return Package{}, fmt.Errorf("has neither a version nor a tag after %q; %s", separator, shapes[launcher])
	}
	return p, nil
}

var shapes = map[string]string{
	LauncherNPX: "write npx:NAME@1.2.3 or npx:@SCOPE/NAME@1.2.3",
	LauncherUVX: "write uvx:NAME==1.2.3",
	LauncherGo:  "write go:example.com/module@v1.2.3, perhaps with the folder of the program: go:example.com/module/cmd/name@v1.2.3",
}

// Exact tells whether the reference names one version, and not whatever a tag
// stands for at the time.
func (p Package) Exact() bool {
	switch p.Launcher {
	case LauncherNPX:
		return exactNPM.MatchString(p.Version)
	case LauncherUVX:
		return exactPyPI.MatchString(p.Version)
	}
	return exactGo.MatchString(p.Version)
}

// Spec is the package as its launcher takes it: NAME@VERSION or NAME==VERSION.
func (p Package) Spec() string {
	switch {
	case p.Version == "" && p.Launcher == LauncherGo:
		return p.Name + "@latest"
	case p.Version == "":
		return p.Name
	case p.Launcher == LauncherUVX:
		return p.Name + "==" + p.Version
	}
	return p.Name + "@" + p.Version
}

// String is the reference: ParsePackage(p.String()) is p.
func (p Package) String() string {
	switch {
	case p.Version == "":
		return p.Launcher + ":" + p.Name
	case p.Launcher == LauncherUVX:
		return p.Launcher + ":" + p.Name + "==" + p.Version
	}
	return p.Launcher + ":" + p.Name + "@" + p.Version
}
