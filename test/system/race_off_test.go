//go:build !race

package system_test

import "time"

// crowd is how many sessions and parked calls must leave nothing behind.
const (
	crowd = 10_000
	// lifecycles is how many sessions come and go, each with a process.
	lifecycles = 5000
	// rolling is how long replicas are restarted and reloaded under load.
	rolling = 60 * time.Second
	raced   = false
)
