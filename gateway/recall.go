package gateway

import (
	"bytes"
	"context"
	"strconv"
	"time"

	"github.com/toolcrib/toolcrib/cache"
	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// lookup is what an exchange looks for in the cache.
type lookup struct {
	k       *keeping
	name    cache.Name
	ttl     time.Duration // where the server does not say
	key     cache.Key     // under which it was found, or is looked for by all who have the same request
	private cache.Key     // that of the caller alone
	answer  *cache.Answer // fresh or not; nil for none
	pass    bool          // there is none to keep
}

// recall answers from the cache what it can, and otherwise has the server asked, one request for all that are alike.
func recall(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	l, ok, err := g.lookup(ctx, x)
	if err != nil {
		return false, err
	}
	if !ok {
		return forward(ctx, g, x)
	}
	now := time.Now()
	switch a := l.answer; {
	case a == nil:
	case x.fresh(a, now):
		x.answerKept(&l, a, cache.Hit, now)
		return true, nil
	case now.Before(a.Revalidate):
		g.revalidate(x, l)
		x.answerKept(&l, a, cache.StaleWhile, now)
		return true, nil
	}
	return g.fetchKept(ctx, x, &l)
}

// fetchKept asks the server, or waits for what another request gets of it.
func (g *Gateway) fetchKept(ctx context.Context, x *Exchange, l *lookup) (bool, error) {
	for !l.pass {
		f, first := l.k.group.Begin(l.key, l.name)
		if first {
			done, err := g.ask(ctx, x, l, f)
			return g.orStale(ctx, x, l, done, err)
		}
		landed, err := f.Wait(ctx)
		switch {
		case err != nil:
			return false, err
		case landed.Answer != nil && x.fresh(landed.Answer, time.Now()):
			x.answerKept(l, landed.Answer, cache.Shared, time.Now())
			return true, nil
		case landed.Err != nil:
			return g.orStale(ctx, x, l, false, landed.Err)
		case !landed.Again:
			l.pass = true
		}
	}
	l.count(x, cache.Miss)
	done, err := forward(ctx, g, x)
	return g.orStale(ctx, x, l, done, err)
}

// ask has the server asked, and what it answers kept.
func (g *Gateway) ask(ctx context.Context, x *Exchange, l *lookup, f *cache.Flight) (bool, error) {
	defer f.Leave()
	l.count(x, cache.Miss)
	told, notify := false, x.Notify
	x.Notify = func(n *mcp.Raw) {
		told = true
		if notify != nil {
			notify(n)
		}
	}
	done, err := forward(ctx, g, x)
	x.Notify = notify
	switch {
	case err != nil && ctx.Err() != nil: // the next one may fare better
	case err != nil && failed(err):
		f.Fail(err)
	case err != nil || !done || told:
		f.Pass()
	default:
		if a := g.keep(x, l, time.Now()); a == nil {
			f.Pass()
		} else if a.Public {
			f.Keep(l.key, a)
		} else {
			f.Keep(l.private, a)
		}
	}
	return done, err
}

// backgroundMost bounds how long one is waited for; the time limits of its server count too.
const backgroundMost = 5 * time.Minute

// revalidating bounds how many answers are fetched anew at once with nobody waiting for them.
const revalidating = 64

// revalidate has a new answer fetched in the background, unless that is under way.
func (g *Gateway) revalidate(x *Exchange, l lookup) {
	if g.refetches.Add(1) > revalidating {
		g.refetches.Add(-1)
		return
	}
	f, first := l.k.group.Begin(l.key, l.name)
	if !first {
		g.refetches.Add(-1)
		return
	}
	y := x.double()
	g.retired.Go(func() {
		defer g.refetches.Add(-1)
		defer f.Leave()
		defer g.release(y.world)
		ctx, cancel := context.WithTimeout(context.Background(), backgroundMost)
		defer cancel()
		if k := y.member.kin; k != nil {
			h, err := k.f.holdHere(ctx, y.held.key)
			if y.held = h; err != nil {
				return
			}
			defer y.held.release()
			y.member = &h.k.member
		}
		if _, err := g.ask(ctx, y, &l, f); err != nil {
			g.o.Log.Debug("a kept answer could not be fetched anew", "server", y.member.Name, "error", err)
		}
		y.Out.Free()
	})
}

// double is an exchange with the same request that outlives x. Its instance is to be held.
func (x *Exchange) double() *Exchange {
	x.world.refs.Add(1) // x keeps it from ending meanwhile
	y := &Exchange{
		Header: x.Header.Clone(), Endpoint: x.Endpoint, Session: x.Session, Within: x.Within, Client: x.Client, Principal: x.Principal,
		started: time.Now(), world: x.world, at: x.at, view: x.view, member: x.member, tool: x.tool, name: bytes.Clone(x.name),
		tailor: x.tailor, tailored: x.tailored,
	}
	y.Client.Info, y.Client.Capabilities = bytes.Clone(x.Client.Info), bytes.Clone(x.Client.Capabilities)
	y.In.Body, y.In.Message = bytes.Clone(x.In.Body), x.In.Message
	y.call.Rename, y.call.RenameTo = x.call.Rename, bytes.Clone(x.call.RenameTo)
	y.held.key = x.held.key
	return y
}

// orStale answers with what was kept where the server failed, as long as that is permitted.
func (g *Gateway) orStale(ctx context.Context, x *Exchange, l *lookup, done bool, err error) (bool, error) {
	now := time.Now()
	if err == nil || ctx.Err() != nil || !failed(err) || l.answer == nil || !now.Before(l.answer.Error) {
		return done, err
	}
	x.answerKept(l, l.answer, cache.StaleError, now)
	return true, nil
}

// lastGood makes the last good answer that is held, however old, the answer of an exchange whose server failed. It tells whether
// there is one.
func (g *Gateway) lastGood(ctx context.Context, x *Exchange) bool {
	l, ok, err := g.lookup(ctx, x)
	if err != nil || !ok || l.answer == nil {
		return false
	}
	x.answerKept(&l, l.answer, cache.StaleError, time.Now())
	return true
}

// failed tells an error that is the server's fault from one of the request.
func failed(err error) bool {
	switch errs.Of(err).Kind {
	case errs.Unavailable, errs.Timeout, errs.Protocol, errs.Overloaded, errs.Lost:
		return true
	}
	return false
}

// fresh tells whether an answer is as the server has it, for all that is known.
func (x *Exchange) fresh(a *cache.Answer, now time.Time) bool {
	return now.Before(a.Fresh) || a.Watched && x.watches()
}

// watches tells whether the server tells now when the resource that is asked for changes.
func (x *Exchange) watches() bool {
	p := x.member.watched
	if p == nil || x.member.Spec.ForwardToken || x.member.Spec.Identity != nil && x.member.kin == nil {
		return false // it is watched for nobody in particular
	}
	got, _ := p.server.Watching(0, upstream.Wish{URIs: []string{string(x.name)}})
	return len(got.URIs) > 0
}

// keep makes what the server answered one to keep; nil where it is not.
func (g *Gateway) keep(x *Exchange, l *lookup, now time.Time) *cache.Answer {
	if !x.complete() {
		return nil
	}
	a := &cache.Answer{Had: now, Public: x.forAll(g, l.k)}
	ttl, says := l.ttl, false
	if x.In.Method.Facts().Cacheable {
		var ms int64
		if ms, says = mcp.Integer(x.Out.Body, x.Out.Get(mcp.KeyTTLMs)); says && ms > 0 {
			ttl = time.Duration(min(ms, ttlMost)) * time.Millisecond
		}
		says = says && ms <= 0
	}
	a.Watched = !says && l.name.Kind == cache.Resource && x.watches()
	a.Fresh = now.Add(ttl)
	if ttl > 0 || a.Watched {
		a.Revalidate = a.Fresh.Add(time.Duration(l.k.spec.Stale.Revalidate))
	}
	a.Error = a.Fresh.Add(time.Duration(l.k.spec.Stale.Error))
	a.Held = a.Fresh.Add(l.k.retain)
	if a.Watched {
		a.Held = now.Add(time.Duration(ttlMost) * time.Millisecond)
	}
	if !a.Until().After(now) || !g.cache.Fits(x.Out.Len()) {
		return nil
	}
	raw := mcp.Raw{Body: x.Out.Append(make([]byte, 0, x.Out.Len()))}
	if e := raw.Scan(wide(raw.Body)); e != nil {
		return nil
	}
	a.Body, a.Message = raw.Body, raw.Message
	return a
}

// complete tells whether the answer is a result that says all there is to say.
func (x *Exchange) complete() bool {
	out := &x.Out
	kind := string(out.Get(mcp.KeyResultType).Of(out.Body))
	return out.Kind == mcp.KindResult && (kind == "" || kind == `"complete"`) && x.about == nil && x.parked == 0 && x.call.Parked == 0 &&
		!x.call.Tasks && string(out.Get(mcp.KeyIsError).Of(out.Body)) != "true"
}

// forAll tells whether the answer is for everybody: where the configuration says so and the server does not say otherwise. That the
// server says so is not enough.
func (x *Exchange) forAll(g *Gateway, k *keeping) bool {
	scope := string(x.Out.Get(mcp.KeyCacheScope).Of(x.Out.Body))
	if !k.public && scope == `"public"` && !x.world.open() {
		g.warnOnce("answers that the server calls public are kept for each caller alone", x.member.Name, "",
			"the configuration decides: where they are the same for all callers, say so with mcpServers.*.cache.scope: public")
	}
	return k.public && scope != `"private"`
}

// answerKept makes a kept answer that of the exchange, with its age.
func (x *Exchange) answerKept(l *lookup, a *cache.Answer, o cache.Outcome, now time.Time) {
	l.count(x, o)
	x.Out.Free()
	out := &x.Out
	out.Body, out.Message = a.Body, a.Message
	out.Edits.Replace(out.ID, x.In.ID.Of(x.In.Body))
	age := max(now.Sub(a.Had), 0)
	b := x.hashing[:0]
	b = append(b, `"io.toolcrib/cache":`...)
	value := len(b)
	b = strconv.AppendInt(append(b, `{"ageMs":`...), age.Milliseconds(), 10)
	if o == cache.StaleWhile || o == cache.StaleError {
		b = append(b, `,"stale":true`...)
	}
	b = append(b, '}')
	end := len(b)
	if ttl := out.Get(mcp.KeyTTLMs); ttl.Present() {
		b = strconv.AppendInt(b, max(a.Fresh.Sub(now), 0).Milliseconds(), 10)
		out.Edits.Replace(ttl, b[end:])
	}
	x.hashing = b
	switch meta := out.Get(mcp.KeyMeta); {
	case out.GetMeta(mcp.MetaCache).Present():
		out.Edits.Replace(out.GetMeta(mcp.MetaCache), b[value:end])
	case meta.Present():
		out.Edits.Insert(out.Body, meta, b[:end])
	default:
		out.Edits.Insert(out.Body, out.Payload, wrapped(`"_meta":{`, b[:end]))
	}
	x.keepPrivate()
}

// wrapped is members within an object that is one.
func wrapped(before string, members []byte) []byte {
	b := make([]byte, 0, len(before)+len(members)+1)
	return append(append(append(b, before...), members...), '}')
}

// count counts what came of a request.
func (l *lookup) count(x *Exchange, o cache.Outcome) {
	l.k.group.Count(o)
	l.k.metric.Count(o.String())
	x.recalled = o
}
