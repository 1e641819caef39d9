//go:build race

package system_test

import "time"

// crowd is how many sessions and parked calls must leave nothing behind: fewer under the race detector, which makes each dear.
const (
	crowd = 2000
	// lifecycles is how many sessions come and go, each with a process.
	lifecycles = 200
	// rolling is how long replicas are restarted and reloaded under load.
	rolling = 10 * time.Second
	raced   = true
)
