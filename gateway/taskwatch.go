package gateway

import (
	"context"
	"strings"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// taskKey stands before a server's own id of a task where what is watched has its place by URI; no URI begins so.
const taskKey = "task\x00"

func isTask(key string) bool { return strings.HasPrefix(key, taskKey) }

// wishFor is what a server is asked to watch for these places.
func wishFor(keys ...string) (wish upstream.Wish) {
	for _, key := range keys {
		if id, ok := strings.CutPrefix(key, taskKey); ok {
			wish.Tasks = append(wish.Tasks, id)
		} else {
			wish.URIs = append(wish.URIs, key)
		}
	}
	return wish
}

// placeTasks has the servers of tasks watch them. Ids that are not the caller's, and tasks that this replica cannot watch or
// that are of legacy servers, which are polled, are not granted.
func (w *Watch) placeTasks(ctx context.Context, x *Exchange, tokens []string) {
	for _, token := range tokens {
		r, ok := w.g.openTaskID(x, mcp.AppendString(nil, token))
		if !ok {
			w.g.o.Metrics.TokenRejected(taskKind)
			continue
		}
		key := taskKey + r.id
		m := x.at.member(r.server)
		if !r.modern || m == nil || (r.replica != "" && r.replica != w.g.o.Node.ID() && m.family == nil) {
			continue
		}
		w.mu.Lock()
		if w.tools == nil {
			w.tools = map[string]string{}
		}
		w.tools[key] = r.tool
		permitted := w.mayWatch(x.at, m, key)
		w.mu.Unlock()
		if !permitted || w.placeAt(ctx, m, key) != nil {
			continue // what cannot be watched is not granted, and that says it
		}
		w.mu.Lock()
		if w.tokens == nil {
			w.tokens = map[string]string{}
		}
		w.tokens[key] = token
		w.mu.Unlock()
	}
}

// tellTask tells of a task, under the id that the client has for it. params is the raw object of the server.
func (w *Watch) tellTask(key string, params []byte) {
	w.mu.Lock()
	token, ok := w.tokens[key]
	w.mu.Unlock()
	if !ok {
		return
	}
	params = relate(reshape(params, mcp.AppendString(nil, token), "", nil, "resultType"), nil)
	n := mcp.Raw{Body: append(append([]byte(`{"jsonrpc":"2.0","method":"notifications/tasks","params":`), params...), '}')}
	if e := n.Scan(wide(n.Body)); e == nil {
		w.tell(key, key, newNotice(&n))
	}
}

// taskChanged tells those who watch a task.
func (h *hub) taskChanged(p *watched, n *mcp.Raw) {
	id, ok := mcp.Text(n.Body, n.Get(mcp.KeyTaskID), nil)
	if !ok {
		return
	}
	h.tellTask(p, taskKey+string(id), n.Payload.Of(n.Body))
}

func (h *hub) tellTask(p *watched, key string, params []byte) {
	h.mu.RLock()
	defer h.mu.RUnlock()
	for w := range p.uris[key] {
		w.tellTask(key, params)
	}
}

// askTasks asks how the watched tasks of a server stand whose watch began anew, since a change may have been missed. The caller
// holds the lock.
func (h *hub) askTasks(p *watched) {
	var g *Gateway
	var ids []string
	for key, all := range p.uris {
		for w := range all {
			if isTask(key) && w.isOpen() {
				g = w.g
				ids = append(ids, key[len(taskKey):])
				break
			}
		}
	}
	if len(ids) == 0 {
		return
	}
	g.retired.Go(func() {
		for _, id := range ids {
			h.askTask(g, p, id)
		}
	})
}

func (h *hub) askTask(g *Gateway, p *watched, id string) {
	ctx, stop := context.WithTimeout(context.Background(), p.patience())
	defer stop()
	t := &task{taskRef: taskRef{server: p.name, id: id, modern: true}, m: &member{server: p.server}}
	out, err := t.ask(ctx, mcp.MethodTasksGet, nil)
	if err != nil {
		g.o.Log.Debug("watched task not looked at", "server", p.name, "error", err)
		return
	}
	defer out.Free()
	if out.Kind == mcp.KindResult {
		h.tellTask(p, taskKey+id, out.Payload.Of(out.Body))
	}
}
