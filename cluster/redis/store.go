package redis

import (
	"context"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/toolcrib/toolcrib/cluster"
)

// Each script touches one key, so it runs on the node of a Redis Cluster that has it. The time of a key only ever grows.
var (
	putScript = rueidis.NewLuaScript(`
if redis.call('HEXISTS', KEYS[1], ARGV[1]) == 0 and redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[4]) then return 0 end
local left = redis.call('PTTL', KEYS[1])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
if left < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1`)
	lockScript = rueidis.NewLuaScript(`
local owner = redis.call('GET', KEYS[1])
if owner and owner ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2])
return 1`)
	unlockScript = rueidis.NewLuaScript(`
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0`)
)

func factKey(name string) string  { return prefix + "fact:" + name }
func leaseKey(name string) string { return prefix + "lease:" + name }

// script runs a script on one key; it fails with refused when the script answers 0.
func (b *Backend) script(ctx context.Context, s *rueidis.Lua, refused error, key string, args ...string) error {
	return b.do(ctx, key, 0, func(ctx context.Context, l *link) error {
		n, err := s.Exec(ctx, l.commands, []string{key}, args).AsInt64()
		if err == nil && n == 0 {
			return refused
		}
		return err
	})
}

func millis(d time.Duration) string { return strconv.FormatInt(max(1, d.Milliseconds()), 10) }

// Put implements cluster.Backend.
func (b *Backend) Put(ctx context.Context, key, field, value string, expires time.Time) error {
	return b.script(ctx, putScript, cluster.ErrFull, factKey(key), field, value, millis(time.Until(expires)), strconv.Itoa(cluster.MaxFields))
}

// Drop implements cluster.Backend.
func (b *Backend) Drop(ctx context.Context, key, field string) error {
	return b.do(ctx, factKey(key), 0, func(ctx context.Context, l *link) error {
		return l.commands.Do(ctx, l.commands.B().Hdel().Key(factKey(key)).Field(field).Build()).Error()
	})
}

// Facts implements cluster.Backend.
func (b *Backend) Facts(ctx context.Context, key string) (facts map[string]string, err error) {
	err = b.do(ctx, factKey(key), 0, func(ctx context.Context, l *link) error {
		facts, err = l.commands.Do(ctx, l.commands.B().Hgetall().Key(factKey(key)).Build()).AsStrMap()
		return err
	})
	return facts, err
}

// Lock implements cluster.Backend.
func (b *Backend) Lock(ctx context.Context, name, owner string, ttl time.Duration) error {
	return b.script(ctx, lockScript, cluster.ErrHeld, leaseKey(name), owner, millis(ttl))
}

// Unlock implements cluster.Backend.
func (b *Backend) Unlock(ctx context.Context, name, owner string) error {
	return b.script(ctx, unlockScript, nil, leaseKey(name), owner)
}

// Owner implements cluster.Backend.
func (b *Backend) Owner(ctx context.Context, name string) (owner string, err error) {
	err = b.do(ctx, leaseKey(name), 0, func(ctx context.Context, l *link) error {
		owner, err = l.commands.Do(ctx, l.commands.B().Get().Key(leaseKey(name)).Build()).ToString()
		if rueidis.IsRedisNil(err) {
			owner, err = "", nil
		}
		return err
	})
	return owner, err
}
