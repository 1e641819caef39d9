// Package memory is a cluster backend for replicas in one process.
package memory

// Backend is one.
type Backend struct{}

// New makes one.
func New() *Backend { return &Backend{} }

// Close ends it.
func (*Backend) Close() {}
