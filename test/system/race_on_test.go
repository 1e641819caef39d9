//go:build race

package system_test

// crowd is how many sessions and parked calls must leave nothing behind: fewer under the race detector, which makes each dear.
const (
	crowd = 2000
	// lifecycles is how many sessions come and go, each with a process.
	lifecycles = 200
	raced      = true
)
