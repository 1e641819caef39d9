package front

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/errs"
)

const (
	streamKind = "stream"         // of the sealed token that names a stream
	relayKind  = "sse"            // of the call that hands a message to the replica that has the stream
	relayTime  = 10 * time.Second // for that replica to take it
)

// streamHandle names a stream at its replica.
type streamHandle [16]byte

func (v *visit) sealStream(handle streamHandle, ttl time.Duration) string {
	return v.h.ring.Load().Seal(streamKind, v.binding(), append(handle[:], v.h.o.Node.ID()...), ttl)
}

// unsealStream opens what a client posts with. Whatever is wrong with it, the answer is the same.
func (v *visit) unsealStream(u *url.URL) (handle streamHandle, replica string, err error) {
	var payload []byte
	if tokens := u.Query()["s"]; len(tokens) == 1 {
		payload, err = v.h.ring.Load().Open(streamKind, v.binding(), tokens[0], time.Now())
	}
	if err != nil || len(payload) < len(handle) {
		v.rejected(streamKind)
		return handle, "", errStreamGone
	}
	copy(handle[:], payload)
	return handle, string(payload[len(handle):]), nil
}

// posted serves a POST at doorMessage: what it brings is handed to the stream, here or at another replica.
func (v *visit) posted(r *http.Request) error {
	if err := checkJSON(r.Header); err != nil {
		return err
	}
	handle, replica, err := v.unsealStream(r.URL)
	if err != nil {
		return err
	}
	if err := v.read(r); err != nil {
		return err
	}
	body := v.x.In.Body
	if replica == v.h.o.Node.ID() {
		err = v.h.hand(r.Context(), handle, body)
	} else {
		err = v.relay(r.Context(), handle, replica, body)
	}
	if err != nil {
		return err
	}
	v.x.Carrier = true
	v.sink.status(http.StatusAccepted)
	return nil
}

func (v *visit) relay(ctx context.Context, handle streamHandle, replica string, body []byte) error {
	ctx, cancel := context.WithTimeout(ctx, relayTime)
	defer cancel()
	_, err := v.h.o.Node.Call(ctx, replica, relayKind, append(handle[:], body...), nil)
	switch {
	case errors.Is(err, cluster.ErrGone):
		return errStreamGone
	case errors.Is(err, cluster.ErrDown):
		return errs.E("front", errs.Unavailable, "the stream is open at another replica, which cannot be reached now: %w", err)
	}
	return err
}

// relayed serves what another replica hands over.
func (h *Handler) relayed(ctx context.Context, request []byte, _ func([]byte)) ([]byte, error) {
	var handle streamHandle
	if copy(handle[:], request) < len(handle) {
		return nil, errStreamGone
	}
	return nil, h.hand(ctx, handle, request[len(handle):])
}

func (h *Handler) hand(ctx context.Context, handle streamHandle, body []byte) error {
	st := h.streams.find(handle)
	if st == nil {
		return errStreamGone
	}
	return st.take(ctx, body)
}

// streamTable holds the streams of this replica; streamCount bounds it.
type streamTable struct {
	mu sync.RWMutex
	m  map[streamHandle]*stream
}

func (t *streamTable) len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.m)
}

func (t *streamTable) add(st *stream) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.m == nil {
		t.m = map[streamHandle]*stream{}
	}
	t.m[st.handle] = st
}

func (t *streamTable) find(handle streamHandle) *stream {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.m[handle]
}

func (t *streamTable) remove(handle streamHandle) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.m, handle)
}
