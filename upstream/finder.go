package upstream

import (
	"context"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/toolcrib/toolcrib/errs"
)

const (
	resolveTime = 5 * time.Second
	sitesMost   = 64 // instances of a name; further ones are left out
	lookupsMost = 16 // at the same time
)

// finder finds the instances of a server by DNS.
type finder struct {
	t        *sites
	url      *url.URL
	resolver *net.Resolver
	first    chan struct{}      // closed when it was tried once
	targets  map[string]*target // as they were found last; used by run alone

	mu    sync.Mutex
	known map[string]*site // by address
	err   error            // of the last try
}

// spot is one address that DNS names.
type spot struct {
	addr         string
	weight, tier int
}

func newFinder(t *sites) *finder {
	d := t.s.spec.DNS
	f := &finder{t: t, url: parsed(t.s.spec.URL), first: make(chan struct{}), known: map[string]*site{}}
	f.resolver = net.DefaultResolver
	if d.Resolver != "" {
		f.resolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, d.Resolver)
		}}
	}
	return f
}

// run asks again and again, sooner as long as there is no instance.
func (f *finder) run(ctx context.Context, busy func(*site) bool) {
	every := time.Duration(f.t.s.spec.DNS.Refresh)
	pause := retryFirst
	for {
		f.ask(ctx)
		f.t.left(busy)
		wait := every
		if len(f.t.set.All()) == 0 {
			wait = min(pause, every)
			pause = 2 * wait
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// ask resolves once. What cannot be resolved leaves the instances as they are.
func (f *finder) ask(ctx context.Context) {
	short, cancel := context.WithTimeout(ctx, resolveTime)
	defer cancel()
	spots, err := f.resolve(short)
	if ctx.Err() != nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	log, was := f.t.s.log, f.err
	switch f.err = err; {
	case err != nil && was == nil:
		log.Warn("instances cannot be found; the last ones stay", "error", err)
	case err == nil && was != nil:
		log.Info("instances are found again")
	}
	if len(spots) > 0 {
		f.use(spots)
	}
	select {
	case <-f.first:
	default:
		close(f.first)
	}
}

// use makes the addresses the instances. Called with mu held.
func (f *finder) use(spots []spot) {
	if len(spots) > sitesMost {
		f.t.s.warnings.warn(f.t.s.log, "more instances than are used", "found", len(spots), "used", sitesMost)
		spots = spots[:sitesMost]
	}
	all := make([]*site, 0, len(spots))
	next := make(map[string]*site, len(spots))
	for _, at := range spots {
		m := f.known[at.addr]
		if m == nil {
			m = f.t.site(f.url, at.addr, at.weight, "")
		}
		m.Weigh(at.weight, at.tier) // it is the same instance, whatever share of the work it has now
		all, next[at.addr] = append(all, m), m
	}
	if !slices.Equal(all, f.t.set.All()) {
		f.t.replace(all)
	}
	f.known = next
}

// await waits until it was tried once, and tells why there is no instance.
func (f *finder) await(ctx context.Context) error {
	select {
	case <-f.first:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.err == nil || len(f.t.set.All()) > 0 {
		return nil
	}
	return f.t.s.errorf(errs.Unavailable, "has no instance: its name cannot be resolved: %w", f.err)
}

var errNoAddress = errors.New("the name has no address")

// resolve asks for the addresses, in an order that is always the same. With some there is an error where others cannot be found.
func (f *finder) resolve(ctx context.Context) (spots []spot, err error) {
	d := f.t.s.spec.DNS
	name := d.Name
	if name == "" {
		name = f.url.Hostname()
	}
	if d.Records == "srv" {
		spots, err = f.services(ctx, name)
	} else {
		_, port, _ := net.SplitHostPort(hostPort(f.url))
		var ips []net.IP
		ips, err = f.resolver.LookupIP(ctx, "ip", name)
		spots = spotsOf(ips, port, spot{weight: 1})
	}
	if len(spots) == 0 && err == nil {
		err = errNoAddress
	}
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.Server != "" && d.Resolver != "" { // net names one of the system, which nobody asked
		at := *e
		at.Server = d.Resolver
		err = &at
	}
	slices.SortFunc(spots, func(a, b spot) int { return strings.Compare(a.addr, b.addr) })
	return slices.CompactFunc(spots, func(a, b spot) bool { return a.addr == b.addr }), err
}

// target is what was found of one that SRV records name.
type target struct {
	ips []net.IP
	err error
}

// services resolves SRV records; a target without address is left out where another has one. One whose addresses cannot be found
// now, which err tells, keeps those that it had, whatever comes of the others.
func (f *finder) services(ctx context.Context, name string) (spots []spot, err error) {
	_, records, err := f.resolver.LookupSRV(ctx, "", "", name)
	if err != nil {
		return nil, err
	}
	targets := make(map[string]*target, len(records))
	room := make(chan struct{}, lookupsMost)
	var lookups sync.WaitGroup
	for _, r := range records {
		if targets[r.Target] != nil {
			continue
		}
		t := &target{}
		targets[r.Target] = t
		room <- struct{}{}
		lookups.Go(func() {
			t.ips, t.err = f.resolver.LookupIP(ctx, "ip", r.Target)
			<-room
		})
	}
	lookups.Wait()
	var missing error
	for _, r := range records {
		t := targets[r.Target]
		switch e, ok := errors.AsType[*net.DNSError](t.err); {
		case ok && e.IsNotFound:
			missing = t.err
		case t.err != nil:
			err = t.err
			if was := f.targets[r.Target]; was != nil {
				t.ips = was.ips
			}
		}
		like := spot{weight: max(int(r.Weight), 1), tier: int(r.Priority)}
		spots = append(spots, spotsOf(t.ips, portText(r.Port), like)...)
	}
	f.targets = targets
	if len(spots) == 0 && err == nil {
		err = missing
	}
	return spots, err
}

func spotsOf(ips []net.IP, port string, like spot) (spots []spot) {
	for _, ip := range ips {
		like.addr = addrName(ip.String(), port)
		spots = append(spots, like)
	}
	return spots
}
