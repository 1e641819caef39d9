package runner

import "time"

// Usage is what the processes of an instance use at this moment, all of them together.
type Usage struct {
	RSS       uint64        `json:"rss"`       // resident memory, in bytes
	CPU       time.Duration `json:"cpu"`       // CPU time since the start
	Files     int           `json:"files"`     // open file descriptors
	Processes int           `json:"processes"` // processes
}
