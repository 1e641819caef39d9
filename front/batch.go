package front

import (
	"context"
	"net/http"
	"sync"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
)

// batchParallel is how many requests of one batch are served at the same time.
const batchParallel = 8

// batch serves an array of messages (2025-03-26 basic "Batching"): one JSON array of the answers, or a stream of them
// when a server has something to say before.
func (v *visit) batch(ctx context.Context, s *session) error {
	c := v.x.Plan().Config
	spans, e := mcp.Split(v.x.In.Body, mcp.Limits{Bytes: int(c.Messages.MaxBytes), Depth: c.Messages.MaxDepth})
	if e != nil {
		return scanError(e)
	}
	if len(spans) > 0 {
		v.x.Split()
	}
	out := &batchWriter{outer: &v.sink, most: int(c.Messages.MaxBytes)}
	var wg sync.WaitGroup
	gate := make(chan struct{}, batchParallel)
	for _, span := range spans {
		gate <- struct{}{}
		wg.Go(func() {
			defer func() { <-gate }()
			defer v.h.contain()
			v.element(ctx, s, span.Of(v.x.In.Body), out)
		})
	}
	wg.Wait()
	out.finish()
	return nil
}

// element serves one message of a batch as an exchange of its own.
func (v *visit) element(ctx context.Context, s *session, body []byte, out *batchWriter) {
	e := &visit{h: v.h, life: v.life}
	e.x.Header, e.x.Request, e.x.Endpoint, e.x.HTTPMethod = v.x.Header, v.x.Request, v.x.Endpoint, v.x.HTTPMethod
	rec := &recorder{header: http.Header{}}
	e.sink.open(rec)
	e.sink.timer.Stop() // the batch as a whole is kept alive
	e.note, e.outer = out.notify, v.stream()
	err := e.within(ctx, s, body)
	if err != nil {
		e.refuse(err)
	}
	v.h.o.Gateway.Finish(&e.x, err)
	id := append([]byte(nil), e.x.In.ID.Of(body)...)
	e.x.In.Body = nil
	e.x.Reset()
	e.sink.close()
	out.add(id, rec.body)
}

// within admits and serves the message of an element.
func (v *visit) within(ctx context.Context, s *session, body []byte) (err error) {
	defer v.h.survive(&err)
	if err := v.h.o.Gateway.Admit(ctx, &v.x); err != nil {
		return err
	}
	c := v.x.Plan().Config
	v.x.In.Body = body
	if e := v.x.In.Scan(mcp.Limits{Bytes: int(c.Messages.MaxBytes), Depth: c.Messages.MaxDepth}); e != nil {
		return scanError(e)
	}
	if v.x.In.Kind == mcp.KindBatch {
		return errs.E("front", errs.BadRequest, "a batch inside a batch")
	}
	return v.message(ctx, s)
}

// recorder takes the answer to one element instead of a connection.
type recorder struct {
	header http.Header
	body   []byte
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) WriteHeader(int)     {}

func (r *recorder) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}

// batchWriter joins the answers to a batch.
type batchWriter struct {
	outer *sink
	mu    sync.Mutex
	body  []byte
	most  int // bytes of all answers together
}

// notify turns the batch's answer into a stream, whose last event is the array.
func (b *batchWriter) notify(n *mcp.Raw) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.outer.notify(n)
}

// add takes the answer to the request with that id; what does not fit any more is replaced by an error.
func (b *batchWriter) add(id, answer []byte) {
	if len(answer) == 0 {
		return // a notification, which has no answer
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.body)+len(answer) > b.most {
		answer = errorBody(id, errs.E("front", errs.TooLarge, "the answers to the batch are larger than %d bytes; send the request by itself", b.most))
	}
	if len(b.body) > 0 {
		b.body = append(b.body, ',')
	}
	b.body = append(b.body, answer...)
}

// finish sends the array; as the stream's last event when there is one.
func (b *batchWriter) finish() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.body) == 0 {
		b.outer.status(http.StatusAccepted)
		return
	}
	all := mcp.Raw{Body: append(append([]byte{'['}, b.body...), ']')}
	b.outer.answer(&all, http.StatusOK)
}
