package upstream

import (
	"context"
	"errors"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// attend watches the first instance, and the next one when that is stopped. For lists alone none is started: they do not
// change while the server sleeps.
func (l *stdioLink) attend(ctx context.Context, p *Peer, w *watcher) error {
	for {
		awake := l.roster.sleeping()
		if awake == nil || w.needs() {
			if err := l.attendAwake(ctx, w); err != nil {
				return err
			}
			continue
		}
		w.calm = true
		wish, ticket := w.wanted()
		w.settle(Wish{Lists: wish.limitTo(p).Lists}, ticket)
		if err := w.await(ctx, awake); err != nil && !errors.Is(err, errWatchOver) {
			return err
		}
	}
}

// attendAwake watches an instance; no error means that it was stopped since nobody needed it.
func (l *stdioLink) attendAwake(ctx context.Context, w *watcher) error {
	if err := l.roster.awake(ctx); err != nil {
		return err
	}
	st := l.roster.lead()
	if st == nil {
		return errWatchOver
	}
	err := st.in.attend(ctx, w)
	if st.load.Load() >= retiring && !errors.Is(err, errUnwatched) && ctx.Err() == nil {
		return nil
	}
	return err
}

// attend watches a child until it ends, or nobody wants it watched.
func (in *instance) attend(ctx context.Context, w *watcher) error {
	if in.peer.Modern {
		return in.s.attendModern(ctx, in.peer, w, true, in.listen)
	}
	subs := subscriptions{s: in.s, send: in.ownTurn}
	return in.s.attendSubscribing(ctx, in.peer, w, &subs, true, in.gone, nil)
}

// listen opens subscriptions/listen at a modern child.
func (in *instance) listen(ctx context.Context, wish Wish) (*listening, error) {
	c, err := listenCall(wish)
	if err != nil {
		return nil, err
	}
	id, li := in.s.ids.Add(1), newListening()
	li.end = func() { in.unlisten(id) }
	in.mu.Lock()
	closed := in.closed
	if !closed {
		if in.listens == nil {
			in.listens = map[int64]*listening{}
		}
		in.listens[id] = li
		in.issued.Store(max(id, in.issued.Load()))
	}
	in.mu.Unlock()
	if closed {
		return nil, in.s.errorf(errs.Unavailable, "%w", errGone)
	}
	d := drafts.Get().(*draft)
	d.reset(id)
	c.Who = in.whose()
	d.modern(c, in.info)
	err = in.p.Write(ctx, d.segs, c.Who, in.patience())
	clear(d.segs)
	drafts.Put(d)
	if err != nil {
		in.forgetListen(id)
		return nil, in.s.errorf(errs.Unavailable, "does not take the request: %w", err)
	}
	return li, nil
}

// unlisten ends a listen: on stdio by a notice.
func (in *instance) unlisten(id int64) {
	if li := in.forgetListen(id); li != nil {
		in.tell(cancelNotice(idBytes(id)))
		li.over(errEnded)
	}
}

func (in *instance) forgetListen(id int64) *listening {
	in.mu.Lock()
	defer in.mu.Unlock()
	li := in.listens[id]
	delete(in.listens, id)
	return li
}

// listened takes what belongs to a listen, and tells whether m did.
func (in *instance) listened(m *mcp.Raw) bool {
	switch m.Kind {
	case mcp.KindNotification:
		if m.Method != mcp.MethodListenAcknowledged {
			return false
		}
		id, _ := mcp.Integer(m.Body, m.GetMeta(mcp.MetaSubscriptionID))
		in.mu.Lock()
		li := in.listens[id]
		in.mu.Unlock()
		if li != nil {
			li.acknowledge(m)
		}
		return true
	case mcp.KindResult, mcp.KindError:
		id, ok := mcp.Integer(m.Body, m.ID)
		if !ok {
			return false
		}
		li := in.forgetListen(id)
		if li != nil {
			li.over(in.s.listenEnded(m))
		}
		return li != nil
	}
	return false
}

// loseListens ends all listens, with the child.
func (in *instance) loseListens(err error) {
	in.mu.Lock()
	all := in.listens
	in.listens = nil
	in.mu.Unlock()
	for _, li := range all {
		li.over(err)
	}
}
