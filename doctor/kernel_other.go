//go:build !linux

package doctor

// unsynchronised is not known here.
func unsynchronised() bool { return false }

// virtual tells whether a path lies among files that the kernel makes up.
func virtual(string) bool { return false }
