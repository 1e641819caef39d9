package doctor

import (
	"context"
	"sync"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/identity"
)

// issuers asks the authorization servers for what tokens are verified with.
func issuers(ctx context.Context, p *patient, n *notes) {
	all := p.config.Auth.Issuers
	if len(all) == 0 {
		n.skip("", "there are none")
		return
	}
	results := make([]notes, len(all))
	var asked sync.WaitGroup
	for i := range all {
		asked.Go(func() {
			results[i].check = n.check
			issuer(ctx, &all[i], &results[i])
		})
	}
	asked.Wait()
	for i := range results {
		n.all = append(n.all, results[i].all...)
	}
}

func issuer(ctx context.Context, is *v1.Issuer, n *notes) {
	about := "issuer " + is.DisplayName()
	in, err := identity.Inspect(ctx, is)
	if err != nil {
		n.told(Fail, about, err.Error(), "see that it runs, and that auth.issuers[].issuer is exactly what its metadata name")
		return
	}
	skew := max(time.Duration(is.Skew), time.Second)
	switch {
	case in.Keys > 0 && in.Usable == 0:
		n.fail(about, "have it sign with another algorithm, or set auth.issuers[].algorithms", "none of its %s signs by %v", count(in.Keys, "key"), is.Algorithms)
	case in.Keys == 0 && is.Introspection == nil:
		n.fail(about, "set auth.issuers[].jwks to where its keys are", "has no keys")
	case in.Dated && in.Ahead.Abs() > skew:
		n.fail(about, "set the clocks by NTP", "its clock is %v %s this one, more than skew (%v) allows, so that its tokens count as of another time",
			in.Ahead.Abs(), side(in.Ahead), is.Skew)
	default:
		n.pass(about, "%s, in %v", count(in.Usable, "usable key"), in.Latency.Round(100*time.Microsecond))
	}
}

// side says whether something is before or behind.
func side(ahead time.Duration) string {
	if ahead > 0 {
		return "before"
	}
	return "behind"
}
