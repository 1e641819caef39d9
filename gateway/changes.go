package gateway

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream"
)

// A server tells of changes to the replicas that watch it. Those tell the others, so that none of them answers with what was before:
//
//	server ─► Changed, Noticed ─► note ─► broadcast ─► heardChanges: lists are asked for anew, answers dropped

// changesKind names broadcasts of what servers told of.
const changesKind = "changes"

const (
	changesPause = 20 * time.Millisecond // between broadcasts, so that a server that tells of much makes few
	changesMost  = 1000                  // resources of a server that are told of one by one
	changesBytes = 64 << 10              // of their URIs
	// changesRetry is the first pause after which it is tried again to tell of what could not be told, changesRetryMost the longest.
	changesRetry     = time.Second
	changesRetryMost = 30 * time.Second
)

// changed is what changed of one server.
type changed struct {
	// Lists are those of the server that changed; Own those of some of its instances, of which answers are kept.
	Lists upstream.Lists `json:"lists,omitempty"`
	Own   upstream.Lists `json:"own,omitempty"`
	// URIs are the resources that changed.
	URIs  map[string]bool `json:"uris,omitempty"`
	bytes int             // of those
}

// changes are those that the other replicas are still to be told of, by server.
type changes struct {
	mu     sync.Mutex
	due    map[string]changed
	saying bool
	back   chan struct{} // there is a connection again; has room for one
}

// noteLists has the other replicas told of lists of a server, or of an instance, that changed.
func (g *Gateway) noteLists(m *member, lists upstream.Lists) {
	switch {
	case m.kin == nil:
		g.note(m.Name, changed{Lists: lists})
	case m.kin.f.remote(): // else nobody but this replica has answers of it
		g.note(m.Name, changed{Own: lists})
	}
}

// resourceUpdated drops what a notice says has changed, here and at the other replicas.
func (g *Gateway) resourceUpdated(m *member, n *mcp.Raw) {
	if n.Method != mcp.MethodResourceUpdated {
		return
	}
	uri, ok := mcp.Text(n.Body, n.Get(mcp.KeyURI), nil)
	if !ok {
		return
	}
	m.updated(string(uri))
	if m.kept.Load() != nil && (m.kin == nil || m.kin.f.remote()) {
		g.note(m.Name, changed{URIs: map[string]bool{string(uri): true}})
	}
}

// note has the other replicas told of a change.
func (g *Gateway) note(server string, add changed) {
	if g.o.Node.Alone() {
		return
	}
	c := &g.changes
	c.mu.Lock()
	defer c.mu.Unlock()
	c.add(server, add)
	c.begin(g)
}

// add adds to what is due. The caller holds the lock.
func (c *changes) add(server string, add changed) {
	if c.due == nil {
		c.due = map[string]changed{}
	}
	d := c.due[server]
	d.Lists |= add.Lists
	d.Own |= add.Own
	if d.URIs == nil {
		d.URIs = map[string]bool{}
	}
	for uri := range add.URIs {
		if !d.URIs[uri] {
			d.URIs[uri] = true
			d.bytes += len(uri)
		}
	}
	if len(d.URIs) > changesMost || d.bytes > changesBytes {
		d.Own |= upstream.ListResources
	}
	if d.Own&upstream.ListResources != 0 {
		d.URIs, d.bytes = nil, 0 // they are among those
	}
	c.due[server] = d
}

// begin has what is due told, unless that goes on. The caller holds the lock.
func (c *changes) begin(g *Gateway) {
	if c.saying || len(c.due) == 0 {
		return
	}
	c.saying = true
	g.retired.Go(g.tellAllChanges)
}

// tellAllChanges tells of what is due until nothing is. What cannot be told is tried again, with growing pauses, and when there is a
// connection again.
func (g *Gateway) tellAllChanges() {
	var failed time.Duration
	for {
		more, err := g.tellChanges()
		pause := changesPause
		switch {
		case err != nil:
			g.o.Log.Debug("other replicas not told of changes of servers", "error", err)
			failed = min(max(2*failed, changesRetry), changesRetryMost)
			pause = failed
		case !more:
			return
		default:
			failed = 0
		}
		select {
		case <-time.After(pause):
		case <-g.changes.back:
		case <-g.closing:
			if err != nil {
				return
			}
		}
	}
}

// tellChanges tells of what is due, and whether there may be more. What cannot be told stays due.
func (g *Gateway) tellChanges() (more bool, err error) {
	c := &g.changes
	c.mu.Lock()
	due := c.due
	c.due, c.saying = nil, len(due) > 0
	c.mu.Unlock()
	if len(due) == 0 {
		return false, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), leaseTime)
	defer cancel()
	body, err := json.Marshal(due)
	if err == nil {
		err = g.o.Node.Broadcast(ctx, changesKind, body)
	}
	if err == nil {
		return true, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for server, d := range due {
		if len(d.URIs) > 0 {
			d.Own |= upstream.ListResources // it may have been too long
		}
		c.add(server, d)
	}
	return false, err
}

// heardChanges takes in what another replica was told.
func (g *Gateway) heardChanges(body []byte) {
	var all map[string]changed
	if json.Unmarshal(body, &all) != nil {
		return
	}
	w := g.acquire()
	defer g.release(w)
	for server, d := range all {
		if m := w.members[server]; m != nil {
			m.changedElsewhere(d)
		}
	}
}

// changedElsewhere drops what changed for all that another replica knows. Of lists that are watched here now the server tells this
// one, too, so that they are not asked for twice.
func (m *member) changedElsewhere(d changed) {
	now, _ := m.server.Watching(0, everyList)
	m.catalog.doubt(d.Lists &^ now.Lists)
	m.outdated(d.Lists | d.Own)
	for uri := range d.URIs {
		m.updated(uri)
	}
}

// caughtUp tells of what could not be told while there was no connection, and takes everything for changed that others may have told
// of meanwhile.
func (g *Gateway) caughtUp() {
	poke(g.changes.back)
	w := g.acquire()
	defer g.release(w)
	for _, m := range w.order {
		m.changedElsewhere(changed{Lists: upstream.AllLists, Own: upstream.AllLists})
	}
}
