package runner

import (
	"errors"
	"fmt"
	"strconv"
)

// Limits bound what the processes of an instance use together; 0 sets no bound.
type Limits struct {
	Memory uint64  // bytes of resident memory
	Pids   int     // processes and threads
	CPU    float64 // CPUs
	Files  int     // file descriptors of each process
}

// overMemory and overPids are the causes of an end for reaching a limit.
func (l Limits) overMemory() error { return &OverLimit{"memory", bytesText(l.Memory)} }
func (l Limits) overPids() error   { return &OverLimit{"pids", strconv.Itoa(l.Pids)} }

// bytesText writes a size as it stands in configurations: 512Mi.
func bytesText(n uint64) string {
	for _, unit := range []string{"", "Ki", "Mi", "Gi"} {
		if n%1024 != 0 || n == 0 {
			return strconv.FormatUint(n, 10) + unit
		}
		n /= 1024
	}
	return strconv.FormatUint(n, 10) + "Ti"
}

func (l Limits) check() error {
	if l.Pids < 0 || l.CPU < 0 || l.Files < 0 {
		return errors.New("resources must not be negative")
	}
	if l.Files > 0 && l.Files < minFiles {
		return fmt.Errorf("resources.files is %d: a process needs at least %d", l.Files, minFiles)
	}
	return nil
}

// minFiles is how many descriptors a process needs to start at all.
const minFiles = 8
