package audit

import (
	"encoding/json"
	"os"

	v1 "github.com/toolcrib/toolcrib/api/v1"
)

// adopt has the logs beside this one finished that nobody writes any more: processes left them that ended otherwise than they
// should. Each is opened as it would be by the next process, so that its last lines are signed and its sinks get them, and closed.
func (l *Log) adopt(c *v1.Config, sinks []v1.AuditSink) {
	for n := range slotsMost {
		path := slot(l.asked, n)
		if path == l.path || inUse(path) || !unfinished(path, sinks) {
			continue
		}
		l.tasks.Go(func() { l.finishOther(path, c) })
	}
}

// unfinished tells whether a log was not closed, or has lines that a sink has not got.
func unfinished(path string, sinks []v1.AuditSink) bool {
	files, err := filesOf(path)
	if err != nil || len(files) == 0 {
		return false
	}
	t, err := tailOf(files[len(files)-1].path)
	closed := struct {
		Closed bool `json:"closed"`
	}{}
	unmappedOf(t.body, &closed)
	if err != nil || t.torn > 0 || !closed.Closed {
		return true
	}
	for i := range sinks {
		var at position
		text, err := os.ReadFile(place(path, &sinks[i]))
		if err == nil && json.Unmarshal(text, &at) == nil && at.Sequence < t.seq {
			return true
		}
	}
	return false
}

func (l *Log) finishOther(path string, c *v1.Config) {
	other := newLog(l.stateDir, l.o)
	other.only = path
	err := other.Configure(c)
	if e := other.Close(l.life); err == nil { // its sinks have as long as this log is open
		err = e
	}
	other.end()
	if err != nil {
		l.o.Log.Warn("audit log of another process, which left it unfinished, cannot be finished", "file", path, "error", err)
		return
	}
	l.o.Log.Info("audit log of another process, which left it unfinished, was finished", "file", path)
}
