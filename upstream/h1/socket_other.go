//go:build !unix

package h1

import "os"

// readNow cannot tell on this system: every connection looks alive.
func readNow(uintptr, []byte) (int, error) { return 0, os.ErrDeadlineExceeded }

// readable cannot tell either.
func readable(uintptr, []byte) bool { return false }
