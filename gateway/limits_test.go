package gateway

import (
	"context"
	"testing"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/limit"
)

// TestLateBody: a request whose body has taken until the next day gives nobody a quota anew.
func TestLateBody(t *testing.T) {
	l := limit.New(limit.Options{})
	defer l.Close()
	c := v1.New()
	c.Limits = []v1.Limit{{Quota: "3/day"}}
	w := &world{limits: l.Configure(c)}
	in := 0
	for i := range 12 {
		x := &Exchange{world: w, started: time.Now()}
		if i%2 == 1 {
			x.started = x.started.Add(-24 * time.Hour)
		}
		if x.meter(context.Background()) == nil {
			in++
		}
		x.used()
	}
	if in != 3 {
		t.Errorf("%d were let in, want 3", in)
	}
}
