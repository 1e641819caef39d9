// Package app puts the parts together: which of them run, in which order they start, and in which they stop.
package app
