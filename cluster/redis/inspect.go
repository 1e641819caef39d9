package redis

import (
	"context"
	"crypto/rand"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/redis/rueidis"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
)

// Inspection is what was found of a Redis.
type Inspection struct {
	// Version is its own, such as 7.2.4; Role is master, or slave for one that takes no writes.
	Version, Role string
	// Cluster tells that it is one of a Redis Cluster.
	Cluster bool
	// Eviction is what it does when it has no memory left; Memory is its bound in bytes, 0 for none.
	Eviction string
	Memory   int64
	// Latency is the shortest time of a few commands.
	Latency time.Duration
	// Ahead is how far its clock is before this one.
	Ahead time.Duration
	// Kin is what replicas say there of their keys.
	Kin map[string]string
	// Refusal is what it said to a write; empty when it took it.
	Refusal string
}

const inspections = 5 // of which the fastest counts

// probe writes as the scripts of replicas do, so that it needs no other rights.
const probe = `return redis.call('SET', KEYS[1], '', 'PX', ARGV[1])`

// Inspect looks at the Redis at an address, and writes a key of its own there that ends at once.
func Inspect(ctx context.Context, address v1.Secret) (*Inspection, error) {
	b, err := New(Options{Address: address})
	if err != nil {
		return nil, err
	}
	defer b.Close()
	o := b.o
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	o.DialCtxFn = dialing(ctx)
	in, err := inspect(ctx, &o)
	if err != nil {
		return nil, errors.New(b.secrets.Replace(err.Error()))
	}
	in.Refusal = b.secrets.Replace(in.Refusal)
	return in, nil
}

func inspect(ctx context.Context, o *rueidis.ClientOption) (*Inspection, error) {
	c, err := client(o)
	if err != nil {
		return nil, err
	}
	defer c.Close()
	text, err := c.Do(ctx, c.B().Info().Build()).ToString()
	if err != nil {
		return nil, err
	}
	facts := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			facts[name] = value
		}
	}
	in := &Inspection{
		Version: facts["redis_version"], Role: facts["role"], Cluster: facts["cluster_enabled"] == "1", Eviction: facts["maxmemory_policy"],
	}
	in.Memory, _ = strconv.ParseInt(facts["maxmemory"], 10, 64)                            // 0 where it does not say
	in.Kin, _ = c.Do(ctx, c.B().Hgetall().Key(factKey(cluster.KinKey)).Build()).AsStrMap() // none where they may not be read
	key := prefix + "probe:" + rand.Text()
	switch err := c.Do(ctx, c.B().Eval().Script(probe).Numkeys(1).Key(key).Arg(millis(time.Second)).Build()).Error(); {
	case said(err):
		in.Refusal = err.Error()
	case err != nil:
		return nil, err
	}
	return in, in.measure(ctx, c)
}

// measure finds how fast it answers, and what its clock says.
func (in *Inspection) measure(ctx context.Context, c rueidis.Client) error {
	for range inspections {
		began := time.Now()
		parts, err := c.Do(ctx, c.B().Time().Build()).AsStrSlice()
		took := time.Since(began)
		if err != nil {
			return err
		}
		if len(parts) != 2 || in.Latency != 0 && took >= in.Latency {
			continue
		}
		seconds, err := strconv.ParseInt(parts[0], 10, 64)
		micros, err2 := strconv.ParseInt(parts[1], 10, 64)
		if err == nil && err2 == nil {
			in.Latency, in.Ahead = took, time.UnixMicro(seconds*1e6+micros).Sub(began.Add(took/2))
		}
	}
	return nil
}
