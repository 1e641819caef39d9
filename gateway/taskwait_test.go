package gateway

import (
	"testing"

	"github.com/toolcrib/toolcrib/upstream"
)

// TestWaitKey: tasks of equal id that a legacy server made in different sessions of a caller are not mixed up.
func TestWaitKey(t *testing.T) {
	t.Parallel()
	form := &task{taskRef: taskRef{server: "s", id: "1", can: upstream.ElicitForm}, session: "p"}
	sample := &task{taskRef: taskRef{server: "s", id: "1", can: upstream.Sample}, session: "p"}
	if waitKey(form) == waitKey(sample) {
		t.Error("the questions of one go to the client of the other")
	}
}
