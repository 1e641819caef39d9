package upstream

import (
	"context"
	"slices"
	"time"

	"github.com/toolcrib/toolcrib/upstream/balance"
)

// headStart is how long an instance has to take a connection before another one is tried beside it.
const headStart = 250 * time.Millisecond

// dialled is what came of an attempt to connect to an instance.
type dialled struct {
	m   *site
	err error
}

// quickest is the instance that takes a connection first: m, which was picked, or another one where m does not within its head start.
// Attempts that are left go on by themselves: what they come to is known then, and their connections serve later calls. It tells too
// who cannot be reached besides those in not. What it returns without an error must be released, and all else is.
func (t *sites) quickest(ctx context.Context, key uint64, m *site, not []*site) (*site, []*site, error) {
	waiting, over := context.WithCancel(ctx)
	defer over()
	results := make(chan dialled)
	under := []*site{m}
	defer func() {
		for _, m := range under {
			t.release(m)
		}
	}()
	turn := time.NewTimer(headStart)
	defer turn.Stop()
	for next, waits := m, 1; ; {
		if next != nil && !t.await(waiting, next, results) {
			return next, not, t.s.closedError()
		}
		var last dialled
		select {
		case <-ctx.Done():
			return under[0], not, context.Cause(ctx)
		case <-turn.C:
		case last = <-results:
			if last.err == nil {
				under = slices.DeleteFunc(under, func(m *site) bool { return m == last.m })
				return last.m, not, nil
			}
			waits, not = waits-1, append(not, last.m)
		}
		if next = t.another(ctx, key, append(slices.Clone(under), not...)); next != nil {
			under, waits = append(under, next), waits+1
			turn.Reset(headStart)
		} else if waits == 0 {
			return last.m, not, last.err
		}
	}
}

// await tells results what comes of an attempt to connect to an instance, for as long as somebody waits for it.
func (t *sites) await(ctx context.Context, m *site, results chan<- dialled) bool {
	return t.s.spawn(func(context.Context) {
		select {
		case results <- dialled{m, t.connect(ctx, m)}:
		case <-ctx.Done():
		}
	})
}

// another picks an instance besides some; nil where there is none.
func (t *sites) another(ctx context.Context, key uint64, not []*site) *site {
	if !t.untried(not) {
		return nil
	}
	m, err := t.pick(ctx, key, not)
	if err != nil {
		return nil
	}
	return m
}

// connect opens a connection to an instance for the calls that come: one attempt for all who wait, which is judged whether or not
// anybody waits for it yet.
func (t *sites) connect(ctx context.Context, m *site) error {
	_, err := m.there.get(ctx, t.s, func(ctx context.Context) (*struct{}, error) {
		err := m.client.Warm(ctx)
		if err == nil {
			return nil, nil //nolint:nilnil // nothing is kept: the next attempt begins anew
		}
		err = &unreached{t.s.unreachable(err)}
		if ctx.Err() == nil {
			t.set.Judge(m, balance.Bad, causeOf(err))
		}
		return nil, err
	})
	return err
}
