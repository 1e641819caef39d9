package cache

import (
	"context"
)

// Flight is a request that its server is being asked for, with those that wait for what comes of it. Whoever began it ends it,
// with one of Keep, Pass, Fail and Leave; what is called after the first does nothing.
type Flight struct {
	g    *Group
	key  Key
	name Name
	done chan struct{}
	// Guarded by the cache until done is closed.
	voided bool // by a change of what it is about
	over   bool
	landed Landing
}

// Landing is what came of a flight for those who waited.
type Landing struct {
	// Answer is what the server gave; Err why it did not.
	Answer *Answer
	Err    error
	// Again: whoever began the flight gave up. Another is to begin it.
	Again bool
}

// Begin begins a flight, or joins the one under way: then first is false.
func (g *Group) Begin(k Key, n Name) (f *Flight, first bool) {
	c := g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.flights[k]; f != nil {
		return f, false
	}
	f = &Flight{g: g, key: k, name: n, done: make(chan struct{})}
	c.flights[k] = f
	g.flights[f] = struct{}{}
	return f, true
}

// Wait waits for what comes of the flight. Only the end of ctx is an error.
func (f *Flight) Wait(ctx context.Context) (Landing, error) {
	select {
	case <-f.done:
		return f.landed, nil
	case <-ctx.Done():
		return Landing{}, context.Cause(ctx)
	}
}

// Keep keeps the answer under a key, unless something changed meanwhile. Those who wait are given it where the key is that of the
// flight; a different one is not theirs, and they ask by themselves.
func (f *Flight) Keep(k Key, a *Answer) {
	c := f.g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.over {
		return
	}
	if !f.voided {
		c.put(f.g, k, f.name, a, a.Until())
	}
	if k == f.key {
		f.landed.Answer = a
	} else if !f.voided {
		c.put(f.g, f.key, f.name, nil, c.now().Add(passFor))
	}
	f.end()
}

// Pass says that there is no answer to be kept: those who wait ask by themselves, and later ones need not wait.
func (f *Flight) Pass() {
	c := f.g.c
	c.mu.Lock()
	defer c.mu.Unlock()
	if f.over {
		return
	}
	if !f.voided {
		c.put(f.g, f.key, f.name, nil, c.now().Add(passFor))
	}
	f.end()
}

// Fail says that the server failed. What was kept stays, for as long as it is good for that.
func (f *Flight) Fail(err error) { f.finish(Landing{Err: err}) }

// Leave says that whoever began the flight gave up: the server may well have answered another.
func (f *Flight) Leave() { f.finish(Landing{Again: true}) }

func (f *Flight) finish(l Landing) {
	f.g.c.mu.Lock()
	defer f.g.c.mu.Unlock()
	if !f.over {
		f.landed = l
		f.end()
	}
}

// end lets those go who wait. The caller holds the lock.
func (f *Flight) end() {
	f.over = true
	f.detach()
	close(f.done)
}

// void has nothing kept of the flight, and nobody join it any more. The caller holds the lock.
func (f *Flight) void() {
	f.voided = true
	f.detach()
}

func (f *Flight) detach() {
	delete(f.g.flights, f)
	if f.g.c.flights[f.key] == f {
		delete(f.g.c.flights, f.key)
	}
}
