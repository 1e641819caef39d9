package gateway

import (
	"context"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/runner/pool"
)

// hold is an instance that somebody uses. The zero hold is none.
type hold struct {
	k      *kin
	key    pool.Key
	waited pool.Waited
}

func (h *hold) release() {
	if h.k != nil {
		h.k.f.pool.Release(h.key)
		h.k = nil
	}
}

// holdHere takes the instance of a key into use, at this replica.
func (f *family) holdHere(ctx context.Context, key pool.Key) (hold, error) {
	k, waited, err := f.pool.Acquire(ctx, key)
	if err != nil {
		return hold{}, err
	}
	return hold{k, key, waited}, nil
}

// instance has a request served by the caller's own instance, where callers do not share one.
func instance(ctx context.Context, g *Gateway, x *Exchange) (bool, error) {
	if x.member == nil || x.member.family == nil {
		return false, nil
	}
	return g.enter(ctx, x)
}

const (
	pinTime  = time.Hour // a task that nobody asks for keeps its instance so long
	pinsMost = 10_000
)

// pins are the tasks of an instance that are not over, as far as was seen: with it they would be lost.
type pins struct {
	mu sync.Mutex
	m  map[string]time.Time
}

func (p *pins) add(task string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.m == nil {
		p.m = map[string]time.Time{}
	}
	if _, there := p.m[task]; there || len(p.m) < pinsMost {
		p.m[task] = time.Now().Add(pinTime)
	}
}

func (p *pins) remove(task string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.m, task)
}

func (p *pins) any() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	for task, until := range p.m {
		if time.Now().Before(until) {
			return true
		}
		delete(p.m, task)
	}
	return false
}

// seen takes in what an answer tells of whether a task is over.
func (m *member) seen(task string, asked mcp.Method, out *mcp.Raw) {
	if status := outcomeOf(asked, out); status != "" && m.other != nil {
		m.other.TaskEnded(task, status)
	}
	switch {
	case m.kin == nil:
	case out.Kind == mcp.KindError:
		if out.ErrorCode == mcp.CodeInvalidParams {
			m.kin.tasks.remove(task) // the server knows none of that name
		}
	case asked == mcp.MethodTasksResult:
		if string(out.Get(mcp.KeyResultType).Of(out.Body)) != `"input_required"` {
			m.kin.tasks.remove(task)
		}
	default:
		m.pin(task, textAt(out.Payload.Of(out.Body), "status"))
	}
}

// outcomeOf is how a task has ended, by an answer of its server; empty where it tells nothing of that.
func outcomeOf(asked mcp.Method, out *mcp.Raw) string {
	if asked == mcp.MethodTasksResult {
		switch {
		case out.Kind == mcp.KindError && out.ErrorCode != mcp.CodeInvalidParams:
			return taskFailed
		case out.Kind == mcp.KindResult && string(out.Get(mcp.KeyResultType).Of(out.Body)) != `"input_required"`:
			return taskCompleted
		}
		return ""
	}
	if out.Kind == mcp.KindResult {
		if status := textAt(out.Payload.Of(out.Body), "status"); terminal(status) {
			return status
		}
	}
	return ""
}

// pin keeps the instance of a task, if it has one, as long as the task is not over.
func (m *member) pin(task, status string) {
	switch {
	case m.kin == nil || task == "" || status == "":
	case terminal(status):
		m.kin.tasks.remove(task)
	default:
		m.kin.tasks.add(task)
	}
}
