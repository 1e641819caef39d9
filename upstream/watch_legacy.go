package upstream

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
)

// subscribeParallel is how many requests of resources/subscribe go to a server at the same time.
const subscribeParallel = 8

// subscriptions are those to resources within one legacy session.
type subscriptions struct {
	s    *Server
	send func(ctx context.Context, body []byte, out *mcp.Raw) error
	have map[string]bool // true when the server took it, false when it refused
}

// attendSubscribing watches a legacy server by what it says unasked, and by subscriptions, until broken is closed.
// served is false when there is no way for the server to say anything.
func (s *Server) attendSubscribing(ctx context.Context, p *Peer, w *watcher, subs *subscriptions, served bool, broken <-chan struct{}, why func() error) error {
	for first := true; ; first = false {
		wish, ticket := w.wanted()
		if wish = wish.limitTo(p); !served {
			wish, broken = Wish{}, nil
		}
		if err := subs.follow(ctx, wish.URIs); err != nil {
			return err
		}
		got := Wish{Lists: wish.Lists, URIs: subs.taken()}
		if first {
			s.began(got.Lists)
		}
		w.settle(got, ticket)
		err := w.await(ctx, broken)
		switch {
		case err == nil:
			continue
		case errors.Is(err, errUnwatched):
			subs.leave(ctx)
		case errors.Is(err, errWatchOver) && why != nil:
			err = why()
		}
		return err
	}
}

// follow subscribes to what is wanted and unsubscribes from the rest.
func (u *subscriptions) follow(ctx context.Context, uris []string) error {
	if u.have == nil {
		u.have = map[string]bool{}
	}
	var add, drop []string
	for _, uri := range uris {
		if _, known := u.have[uri]; !known {
			add = append(add, uri)
		}
	}
	if len(u.have)+len(add) > len(uris) {
		wanted := set(uris)
		for uri := range u.have {
			if _, ok := wanted[uri]; !ok {
				drop = append(drop, uri)
			}
		}
	}
	u.drop(ctx, drop)
	return u.add(ctx, add)
}

func (u *subscriptions) taken() (out []string) {
	for uri, ok := range u.have {
		if ok {
			out = append(out, uri)
		}
	}
	slices.Sort(out)
	return out
}

// add subscribes; a server that refuses one URI is not asked for it again. Only a server that cannot be asked is an error.
func (u *subscriptions) add(ctx context.Context, uris []string) error {
	results, errs := make([]bool, len(uris)), make([]error, len(uris))
	u.each(uris, func(i int) {
		results[i], errs[i] = u.ask(ctx, mcp.MethodResourcesSubscribe, uris[i])
	})
	for i, uri := range uris {
		if errs[i] != nil {
			return errs[i]
		}
		u.have[uri] = results[i]
	}
	return nil
}

// drop unsubscribes; that a server does not take it changes nothing.
func (u *subscriptions) drop(ctx context.Context, uris []string) {
	u.each(uris, func(i int) {
		if u.have[uris[i]] {
			_, _ = u.ask(ctx, mcp.MethodResourcesUnsubscribe, uris[i])
		}
	})
	for _, uri := range uris {
		delete(u.have, uri)
	}
}

// leave unsubscribes from all, in a short time.
func (u *subscriptions) leave(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, sideCall)
	defer cancel()
	u.drop(ctx, u.taken())
}

func (u *subscriptions) each(uris []string, f func(int)) {
	var wg sync.WaitGroup
	gate := make(chan struct{}, subscribeParallel)
	for i := range uris {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			f(i)
		})
	}
	wg.Wait()
}

// ask sends one request about one URI and tells whether the server took it.
func (u *subscriptions) ask(ctx context.Context, m mcp.Method, uri string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Duration(u.s.timeouts().List))
	defer cancel()
	body := mcp.AppendString([]byte(`{"jsonrpc":"2.0","id":1,"method":"`+m.String()+`","params":{"uri":`), uri)
	var out mcp.Raw
	defer out.Free()
	if err := u.send(ctx, append(body, "}}"...), &out); err != nil {
		return false, err
	}
	return out.Kind == mcp.KindResult, nil
}
