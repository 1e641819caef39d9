package upstream

import (
	"context"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/mcp"
)

// Listen listens for a wish at what is far away: began gets what of it is told from then on, and then told what there is to be
// told, which is valid only during the call. It returns when that is over, at the latest when ctx ends.
type Listen func(ctx context.Context, wish Wish, began func(got Wish), told func(*mcp.Raw)) error

// Afar stands for an instance of a server that runs somewhere else, as far as its resources and tasks are watched.
func Afar(spec *v1.Server, o Options, listen Listen) *Server {
	s := prepare(spec, o)
	s.link = &farLink{noLink{s: s, why: s.closedError()}, listen}
	s.setState(StateReady)
	return s
}

type farLink struct {
	noLink
	listen Listen
}

// farPeer tells nothing of lists.
var farPeer = &Peer{Modern: true, Capabilities: []byte(`{"resources":{"subscribe":true}}`)}

func (l *farLink) ready(context.Context) (*Peer, error) { return farPeer, nil }

func (l *farLink) attend(ctx context.Context, p *Peer, w *watcher) error {
	return l.s.attendModern(ctx, p, w, false, l.open)
}

func (l *farLink) open(ctx context.Context, wish Wish) (*listening, error) {
	ctx, cancel := context.WithCancel(ctx)
	li := newListening()
	li.end = cancel
	began := func(got Wish) {
		li.acks.Do(func() {
			li.got = got
			close(li.acked)
		})
	}
	if !l.s.spawn(func(context.Context) {
		defer cancel()
		err := l.listen(ctx, wish, began, l.s.opts.Noticed)
		if err == nil {
			err = errWatchOver
		}
		li.over(err)
	}) {
		cancel()
		return nil, l.s.closedError()
	}
	return li, nil
}
