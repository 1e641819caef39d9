package upstream

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"time"

	"github.com/toolcrib/toolcrib/errs"
	"github.com/toolcrib/toolcrib/mcp"
	"github.com/toolcrib/toolcrib/upstream/balance"
	"github.com/toolcrib/toolcrib/upstream/h1"
)

// lookAfter finds out when an instance that has not answered yet does, and probes it from then on where that is configured.
func (t *sites) lookAfter(ctx context.Context, m *site) {
	active := t.s.spec.Health.Active
	pause := retryFirst
	for {
		joining := m.State() == balance.Joining
		if !joining && active == nil {
			return
		}
		err := t.probe(ctx, m, joining)
		if ctx.Err() != nil {
			return
		}
		t.set.Probe(m, err == nil, causeOf(err))
		wait := pause
		if pause = min(2*pause, retryMost); active != nil && (!joining || err == nil) {
			wait = time.Duration(active.Interval)
		}
		spread := time.Duration(rand.Int64N(int64(wait)/8 + 1)) //nolint:gosec // only that not all are probed at the same time
		m.due.Store(time.Now().Add(wait - spread).UnixNano())
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait - spread):
		}
	}
}

// causeOf is an error as the reason of a state.
func causeOf(err error) string {
	if err == nil {
		return ""
	}
	return errs.Of(err).Text()
}

// probe asks an instance whether it takes work. To join, it must be one that can be called.
func (t *sites) probe(ctx context.Context, m *site, joining bool) error {
	active := t.s.spec.Health.Active
	if active == nil || joining && active.Kind == "mcp" {
		return t.join(ctx, m)
	}
	limit := time.Duration(active.Timeout)
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var err error
	switch active.Kind {
	case "tcp":
		err = connects(ctx, m)
	case "http":
		err = t.well(ctx, m, active.Path, limit)
	default:
		err = t.alive(ctx, m)
	}
	if ctx.Err() != nil {
		return fmt.Errorf("probe (%s): no answer within %s", active.Kind, limit)
	}
	if err != nil {
		return fmt.Errorf("probe (%s): %s", active.Kind, causeOf(err))
	}
	return nil
}

// connects opens a connection.
func connects(ctx context.Context, m *site) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", m.client.Addr())
	if err != nil {
		return err
	}
	return conn.Close()
}

// well asks for a path of the instance.
func (t *sites) well(ctx context.Context, m *site, path string, limit time.Duration) error {
	q := h1.Request{Head: append(append([]byte("GET"), headFor(path, m.url, t.s)...), "Accept: */*\r\n"...), Safe: true, Timeout: limit}
	var resp h1.Response
	if err := m.client.Do(ctx, &q, &resp); err != nil {
		return err
	}
	defer resp.Close()
	drain(&resp)
	if status := resp.Status(); status >= 400 {
		return fmt.Errorf("HTTP %d", status)
	}
	return nil
}

// joins tells whether an instance is known for what it is.
func (l *httpLink) joins(ctx context.Context, m *site) error {
	_, err := l.eraOf(ctx, m)
	return err
}

// alive asks in the protocol's own words: server/discover, or ping in a session that is kept for it.
func (l *httpLink) alive(ctx context.Context, m *site) error {
	p, err := l.eraOf(ctx, m)
	if err != nil {
		return err
	}
	var out mcp.Raw
	defer out.Free()
	switch {
	case p.stream:
		return connects(ctx, m)
	case p.Modern:
		return l.own(ctx, m, nil, discoverBody, &out)
	case m.pinged == nil:
		m.pinged, err = l.initialize(ctx, m, AllAbilities, l.s.opts.Own)
		return err
	}
	if err = l.own(ctx, m, m.pinged, pingBody, &out); err != nil {
		m.pinged = nil
	}
	return err
}

// eraOf tells what an instance speaks, found out when it is not known.
func (l *httpLink) eraOf(ctx context.Context, m *site) (*Peer, error) {
	if p := m.era.peek(); p != nil {
		return p, nil
	}
	p, err := m.era.get(ctx, l.s, func(ctx context.Context) (*Peer, error) { return l.probe(ctx, m) })
	if err == nil && m.Broken() {
		l.sites.set.Answered(m)
	}
	return p, err
}
