package mcp

import "slices"

// The released protocol versions.
const (
	Version20241105 = "2024-11-05"
	Version20250326 = "2025-03-26"
	Version20250618 = "2025-06-18"
	Version20251125 = "2025-11-25"
	Version20260728 = "2026-07-28"

	// VersionModern is the first version without a handshake: every request
	// carries its version.
	VersionModern = Version20260728
	// LatestLegacy is the newest version that begins with initialize.
	LatestLegacy = Version20251125
)

// Newest first.
var allVersions = []string{Version20260728, Version20251125, Version20250618, Version20250326, Version20241105}

// IsModern reports whether v is a version date of the modern era, also one
// that is not released yet.
func IsModern(v string) bool { return isDate(v) && v >= VersionModern }

func isDate(v string) bool {
	if len(v) != len("2006-01-02") {
		return false
	}
	for i := range len(v) {
		if i == 4 || i == 7 {
			if v[i] != '-' {
				return false
			}
		} else if v[i] < '0' || v[i] > '9' {
			return false
		}
	}
	return true
}

// Known reports whether v is a released version.
func Known(v string) bool { return slices.Contains(allVersions, v) }

// AllVersions returns every released version, newest first.
func AllVersions() []string { return slices.Clone(allVersions) }

// HasTasks reports whether v has tasks in its core: 2025-11-25 alone does; later they are an extension.
func HasTasks(v string) bool { return v == Version20251125 }

// Batches reports whether v has JSON-RPC batches: 2025-03-26 alone does.
func Batches(v string) bool { return v == Version20250326 }
