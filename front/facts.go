package front

import (
	"context"
	"encoding/binary"
	"strings"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

// What changes in a session (its log level, the resources it subscribed to, that it was ended) is kept as facts of the cluster.
// Each replica has a copy for the sessions it has seen: it is loaded when a session comes first, and kept current by what
// replicas tell each other. After the cluster was away, everything is loaded again.

const (
	factTime  = 2 * time.Second // for a fact to be kept or loaded; a cluster that is away fails much sooner
	factKind  = "session"       // of the broadcasts
	factLevel = "level"
	factEnded = "ended"
	factURI   = "uri:" // and the URI
	uriMost   = 2048   // bytes of a URI that a session subscribes to
	// requestIDMost bounds the ids, in bytes, of requests that are cancelled elsewhere.
	requestIDMost = 1024
	loadTrials    = 3
)

// told is what replicas tell each other of a session.
type told byte

const (
	toldLevel   told = 'l' // and the level
	toldEnded   told = 'e'
	toldCancel  told = 'c' // and the raw id of the request
	toldWatch   told = '+' // and the URI
	toldUnwatch told = '-' // and the URI
	toldStream  told = 's' // and when it was opened
)

func factsOf(id sessionID) string { return factKind + ":" + string(id[:]) }

// shared tells whether other replicas have to know of a session.
func (h *Handler) shared(s *session) bool { return !s.local && !h.o.Node.Alone() }

// tell has all other replicas know.
func (h *Handler) tell(ctx context.Context, s *session, what told, value string) error {
	if !h.shared(s) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factTime)
	defer cancel()
	b := make([]byte, 0, idLen+8+1+len(value))
	b = binary.BigEndian.AppendUint64(append(b, s.id[:]...), uint64(s.expires.UnixNano()))
	return h.o.Node.Broadcast(ctx, factKind, append(append(b, byte(what)), value...))
}

// keep has the cluster keep a fact.
func (h *Handler) keep(ctx context.Context, s *session, field, value string) error {
	if !h.shared(s) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factTime)
	defer cancel()
	return h.o.Node.Put(ctx, factsOf(s.id), field, value, s.expires)
}

// unkeep has the cluster forget a fact.
func (h *Handler) unkeep(ctx context.Context, s *session, field string) error {
	if !h.shared(s) {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), factTime)
	defer cancel()
	return h.o.Node.Drop(ctx, factsOf(s.id), field)
}

// hear takes what another replica tells. It does not wait for anything.
func (h *Handler) hear(body []byte) {
	if len(body) < idLen+8+1 {
		return
	}
	s := &session{expires: time.Unix(0, int64(binary.BigEndian.Uint64(body[idLen:])))}
	copy(s.id[:], body)
	s.name()
	what, value := told(body[idLen+8]), string(body[idLen+8+1:])
	switch what {
	case toldEnded:
		if seen := h.opened.find(s.id); seen != nil {
			s = seen
		}
		h.over(s)
		return
	case toldCancel:
		h.running.cancel(s.id, value)
		return
	case toldStream:
		if len(value) == 8 {
			h.sessions.outdate(s.id, int64(binary.BigEndian.Uint64([]byte(value))))
		}
		return
	}
	seen := h.opened.find(s.id)
	if seen == nil {
		seen = h.sessions.known(s.id)
	}
	if s = seen; s == nil {
		return // it is loaded when it comes here
	}
	switch what {
	case toldLevel:
		h.sessions.setLevel(s, value)
	case toldWatch:
		h.sessions.watch(s, value)
	case toldUnwatch:
		h.sessions.unwatch(s.id, value)
	}
}

// learn takes in a session that comes here for the first time. While the cluster is away it is served by what is known here,
// and tried again with each request.
func (h *Handler) learn(ctx context.Context, token string, s *session) {
	if !h.shared(s) {
		h.opened.put(token, s)
		return
	}
	done := h.sessions.loading(s)
	defer done()
	if h.load(ctx, s) == nil {
		h.opened.put(token, s)
	}
}

// load replaces what is known of a session by the facts that the cluster keeps, and gives back what the cluster has lost.
func (h *Handler) load(ctx context.Context, s *session) error {
	for range loadTrials {
		since := h.sessions.now()
		f, err := h.facts(ctx, s)
		if err != nil {
			return err
		}
		ok, lost := h.sessions.replace(s.id, f, since)
		if !ok {
			continue
		}
		if h.sessions.ended(s.id) {
			h.over(s)
		}
		return h.restore(ctx, s, lost)
	}
	return nil // it changes all the time, so all that changes is heard
}

// facts are what the cluster keeps of a session.
func (h *Handler) facts(ctx context.Context, s *session) (f sessionFacts, err error) {
	ctx, cancel := context.WithTimeout(ctx, factTime)
	defer cancel()
	all, err := h.o.Node.Facts(ctx, factsOf(s.id))
	f.expires, f.principal = s.expires, s.principal
	f.level, f.ended = all[factLevel], all[factEnded] != ""
	for field := range all {
		if uri, ok := strings.CutPrefix(field, factURI); ok {
			f.add(uri)
		}
	}
	return f, err
}

// restore has the cluster, and the other replicas, know again what the cluster lost.
func (h *Handler) restore(ctx context.Context, s *session, lost []fact) error {
	for _, f := range lost {
		field, value := factLevel, f.value
		switch f.what {
		case toldEnded:
			field, value = factEnded, "1"
		case toldWatch:
			field, value = factURI+f.value, ""
		}
		if err := h.keep(ctx, s, field, value); err != nil {
			return err
		}
		if err := h.tell(ctx, s, f.what, f.value); err != nil {
			return err
		}
	}
	return nil
}

// reconnected makes up for what was not heard while the cluster was away.
func (h *Handler) reconnected() {
	sessions := h.sessions.doubt()
	h.opened.clear()
	for _, s := range sessions {
		if !h.shared(s) || h.o.Life.Err() != nil {
			return
		}
		if err := h.load(h.o.Life, s); err != nil {
			h.o.Log.Debug("facts of sessions are not current yet", "error", err)
			return // it is away again
		}
	}
}

// setLevel changes the log level of a session, everywhere.
func (h *Handler) setLevel(ctx context.Context, s *session, level string) error {
	if err := h.keep(ctx, s, factLevel, level); err != nil {
		return err
	}
	h.sessions.setLevel(s, level)
	return h.tell(ctx, s, toldLevel, level)
}

// cancel ends a request of a session, wherever it runs. An id that is longer than any client makes is not told to others.
func (h *Handler) cancel(ctx context.Context, s *session, id string) error {
	if id == "" || h.running.cancel(s.id, id) || len(id) > requestIDMost {
		return nil
	}
	return h.tell(ctx, s, toldCancel, id)
}

// endSession ends a session everywhere; here also when the others cannot be told yet.
func (h *Handler) endSession(ctx context.Context, s *session) error {
	h.over(s)
	if err := h.keep(ctx, s, factEnded, "1"); err != nil {
		return err
	}
	return h.tell(ctx, s, toldEnded, "")
}

// lost ends a session that a server has lost, everywhere: whoever is told so must not be served in it again as if nothing were
// missing. What is under way in it here may end by itself.
func (h *Handler) lost(ctx context.Context, s *session) {
	h.close(s)
	err := h.keep(ctx, s, factEnded, "1")
	if err == nil {
		err = h.tell(ctx, s, toldEnded, "")
	}
	if err != nil {
		h.o.Log.Warn("other replicas were not told that a session is over", "error", err)
	}
}

// ended counts a session that is over.
func (h *Handler) ended(s *session, reason string) {
	h.o.Metrics.SessionEnded(s.version, reason, time.Since(s.born))
}

// close marks a session as ended; it does not expire any more.
func (h *Handler) close(s *session) {
	h.sessions.end(s)
	h.expiries.drop(s.id)
}

// over ends what this replica has of a session.
func (h *Handler) over(s *session) {
	h.close(s)
	h.running.cancelAll(s.id)
	h.o.Gateway.Leave(s.own, s.key)
}

// subscribe adds to the resources that a session wants to hear of; most bounds them.
func (h *Handler) subscribe(ctx context.Context, s *session, uri string, most int) error {
	switch n, has := h.sessions.watches(s.id, uri); {
	case has:
		return nil
	case len(uri) > uriMost:
		return errs.E("front", errs.Invalid, "params.uri has %d bytes; at most %d can be subscribed to", len(uri), uriMost)
	case n >= most:
		return errs.E("front", errs.Overloaded, "the session has %d subscriptions, which is the most; unsubscribe from some, or raise streams.subscriptions", n)
	case h.sessions.full(s.principal):
		return errs.E("front", errs.Overloaded, "this replica keeps at most %d subscriptions of one caller and %d of all; unsubscribe from some, or try later",
			principalURIs, urisMost)
	}
	if err := h.keep(ctx, s, factURI+uri, ""); err != nil {
		return err
	}
	h.sessions.watch(s, uri)
	return h.tell(ctx, s, toldWatch, uri)
}

// unsubscribe takes it back.
func (h *Handler) unsubscribe(ctx context.Context, s *session, uri string) error {
	if err := h.unkeep(ctx, s, factURI+uri); err != nil {
		return err
	}
	h.sessions.unwatch(s.id, uri)
	return h.tell(ctx, s, toldUnwatch, uri)
}

// follow has an open stream of a session hear of changes: of the URIs it subscribed to, and of its end, when the session was
// ended or a newer stream of it was opened anywhere, which is what happens to an older one now. Neither function may wait, nor
// call back. leave ends it.
func (h *Handler) follow(ctx context.Context, s *session, changed func(), end func(error)) (leave func()) {
	f := &follower{s: s, changed: changed, end: end, opened: time.Now().UnixNano()}
	h.sessions.follow(f)
	if h.sessions.ended(s.id) { // before anybody could tell the stream
		end(errSessionEnded)
	}
	at := binary.BigEndian.AppendUint64(nil, uint64(f.opened))
	if err := h.tell(ctx, s, toldStream, string(at)); err != nil {
		h.o.Log.Debug("other replicas were not told of a stream", "error", err)
	}
	return func() { h.sessions.unfollow(f) }
}
