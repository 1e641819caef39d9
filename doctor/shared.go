package doctor

import (
	"context"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	v1 "github.com/toolcrib/toolcrib/api/v1"
	"github.com/toolcrib/toolcrib/cluster"
	"github.com/toolcrib/toolcrib/cluster/redis"
	"github.com/toolcrib/toolcrib/seal"
	"github.com/toolcrib/toolcrib/store/postgres"
	"github.com/toolcrib/toolcrib/store/sqlite"
)

const (
	slow      = 20 * time.Millisecond // for what each call may wait for
	apart     = 5 * time.Second       // how far clocks may be
	redisFor  = 6                     // the first version that speaks RESP3
	ringFor   = 7                     // the first version of a Redis Cluster with sharded channels
	storeFile = "toolcrib.db"         // in stateDir
)

// shared looks at the Redis that replicas share.
func shared(ctx context.Context, p *patient, n *notes) {
	if p.config.Cluster == "" {
		n.skip("", "cluster is not set: this replica is alone")
		return
	}
	address, err := v1.ParseClusterAddress(p.config.Cluster)
	if err != nil {
		return // which configuration tells
	}
	about := "Redis at " + strings.Join(address.Hosts, ", ")
	in, err := redis.Inspect(ctx, p.config.Cluster)
	if err != nil && ctx.Err() != nil {
		n.fail(about, "find out what it does, or give it more time: --timeout", "gives no answer in time")
		return
	}
	if err != nil {
		n.fail(about, loginOrReach(err.Error()), "cannot be used: %v", err)
		return
	}
	p.judge(n, about, in)
	p.kin(n, in.Kin)
	if address.Password == "" && !loopbackOnly(address.Hosts) {
		n.warn(about, "set requirepass or an ACL there, and write redis://user:password@host in cluster",
			"anybody who reaches it may read and change what replicas share")
	}
	if n.well() {
		n.pass(about, "version %s, answers in %v, %s", in.Version, in.Latency.Round(10*time.Microsecond), evicting(in))
	}
}

// kin compares the keys of the replicas that run with those of the configuration.
func (p *patient) kin(n *notes, said map[string]string) {
	var keys [][]byte
	for _, text := range p.config.Seal.Keys {
		some, _ := seal.ParseKeys([]byte(text)) // which the check seal tells
		keys = append(keys, some...)
	}
	ring, err := seal.NewRing(keys...)
	if err != nil {
		return
	}
	for _, s := range cluster.Strangers(said, ring, time.Now()) {
		n.warn("seal.keys", "give all replicas the same seal.keys, or those that are no replicas of each other a Redis database each",
			"%s: sessions and cursors of one fail at the other", s)
	}
}

func loginOrReach(text string) string {
	for _, sign := range []string{"NOAUTH", "WRONGPASS", "NOPERM", "invalid password", "invalid username"} {
		if strings.Contains(text, sign) {
			return "write redis://user:password@host in cluster (TOOLCRIB_CLUSTER), as Redis has them"
		}
	}
	return "start it, or correct cluster (TOOLCRIB_CLUSTER)"
}

func loopbackOnly(hosts []string) bool {
	for _, at := range hosts {
		if host, _, err := net.SplitHostPort(at); err != nil || !v1.LoopbackHost(host) {
			return false
		}
	}
	return true
}

// judge notes what is wrong with a Redis that answers.
func (p *patient) judge(n *notes, about string, in *redis.Inspection) {
	least := redisFor
	if in.Cluster {
		least = ringFor
	}
	major, _, _ := strings.Cut(in.Version, ".")
	if v, err := strconv.Atoi(major); err == nil && v < least {
		n.fail(about, "run version 7 or later", "is of version %s; %d.0 is the first that will do", in.Version, least)
	}
	if in.Role == "slave" {
		n.fail(about, "name the master in cluster, or Sentinels with ?master_set=NAME", "is a replica of another, which takes no writes")
	} else if in.Refusal != "" {
		n.fail(about, "mend what it says, such as more memory (maxmemory), a disk that is full, a right that the user lacks",
			"answers, but took no write: %s", in.Refusal)
	}
	if in.Memory > 0 && in.Eviction != "noeviction" {
		n.warn(about, "set maxmemory-policy noeviction, or use a Redis for this alone",
			"throws things away when its memory is full (%s): sessions, leases and counts among them", in.Eviction)
	}
	if in.Latency > slow {
		n.warn(about, "run it nearer to the gateway", "needs %v for the shortest answer, which limits wait for", in.Latency.Round(time.Millisecond))
	}
	p.clocked(n, about, in.Ahead)
}

func (p *patient) clocked(n *notes, about string, ahead time.Duration) {
	if ahead.Abs() > apart {
		n.warn(about, "set the clocks by NTP", "its clock is %v %s this one", ahead.Abs().Round(time.Second), side(ahead))
	}
}

func evicting(in *redis.Inspection) string {
	if in.Memory == 0 {
		return "without a bound of memory"
	}
	return "throws nothing away within " + v1.Size(in.Memory).String()
}

// database looks at the store.
func database(ctx context.Context, p *patient, n *notes) {
	if p.config.Store == "" {
		p.file(ctx, n)
		return
	}
	in, server, ahead, err := postgres.Inspect(ctx, string(p.config.Store))
	if err != nil {
		n.told(Fail, "store", err.Error(), "start it, or correct store (TOOLCRIB_STORE, DATABASE_URL)")
		return
	}
	if in.Version > in.Known {
		newer(n, "store", in.Version, in.Known)
	}
	p.clocked(n, "store", ahead)
	if n.well() {
		n.pass("", "PostgreSQL %s, tables of version %d of %d, answers in %v", server, in.Version, in.Known, in.Latency.Round(10*time.Microsecond))
	}
}

func newer(n *notes, about string, version, known int) {
	n.fail(about, "run that one, or name another database", "its tables are of version %d and this toolcrib knows %d: a newer one made them", version, known)
}

// file looks at the store of one gateway.
func (p *patient) file(ctx context.Context, n *notes) {
	if p.config.Cluster != "" {
		n.warn("store", "set store (TOOLCRIB_STORE) to a PostgreSQL for all",
			"cluster is set and store is not: each replica knows only the keys that were made with it")
	}
	path := filepath.Join(p.stateDir, storeFile)
	in, err := sqlite.Inspect(ctx, path)
	switch {
	case missing(err):
		if n.well() {
			n.pass("", "the first start makes %s", path)
		}
	case displaced(err):
		n.stateless()
	case err != nil:
		n.fail(path, "restore it from a copy, or remove it: keys that were made with toolcrib keys end then", "%v", err)
	case in.Version > in.Known:
		newer(n, path, in.Version, in.Known)
	case n.well():
		n.pass("", "%s, tables of version %d of %d", path, in.Version, in.Known)
	}
}
