package redis

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"github.com/redis/rueidis"

	"github.com/toolcrib/toolcrib/cluster"
)

// The clock of these scripts is that of Redis, so that those of the replicas do not matter. Numbers are written in full: Lua
// would round them.
var (
	drawScript = rueidis.NewLuaScript(`
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local kept = redis.call('HMGET', KEYS[1], 'left', 'at')
local most, micro, need, want = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local left, at = tonumber(kept[1]), tonumber(kept[2])
if not left then left, at = most, now end
if now > at then left = left + (now - at) * micro end
left = math.min(left, most)
local got = 0
if ARGV[5] == '1' then
  got = want
elseif left >= need then
  got = want
  local rest = left - want
  if rest > 0 then got = got + math.floor(math.min(rest, math.max(tonumber(ARGV[6]), rest * tonumber(ARGV[7])))) end;
end
left = math.min(left - got, most)
redis.call('HSET', KEYS[1], 'left', string.format('%.17g', left), 'at', string.format('%.0f', now))
redis.call('PEXPIRE', KEYS[1], ARGV[8])
return {string.format('%.17g', got), string.format('%.17g', left)}`)

	holdScript = rueidis.NewLuaScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local all, others = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
  local n, expires = string.match(all[i + 1], '(%d+) (%d+)')
  if tonumber(expires) <= now then redis.call('HDEL', KEYS[1], all[i])
  elseif all[i] ~= ARGV[1] then others = others + tonumber(n) end;
end
local least, want, most = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local mine = math.max(least, math.min(want, most - others))
if mine > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %.0f', mine, now + ARGV[5]))
  redis.call('PEXPIRE', KEYS[1], ARGV[5])
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
return mine`)

	presentScript = rueidis.NewLuaScript(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local ttl = tonumber(ARGV[2])
if ttl > 0 then
  redis.call('HSET', KEYS[1], ARGV[1], string.format('%.0f', now + ttl))
  redis.call('PEXPIRE', KEYS[1], ttl)
else
  redis.call('HDEL', KEYS[1], ARGV[1])
end
local all, n = redis.call('HGETALL', KEYS[1]), 0
for i = 1, #all, 2 do
  if tonumber(all[i + 1]) <= now then redis.call('HDEL', KEYS[1], all[i]) else n = n + 1 end;
end
return n`)
)

const presentKey = prefix + "limit:replicas"

func limitKey(name string) string { return prefix + "limit:" + name }

func float(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Draw implements cluster.Counter.
func (b *Backend) Draw(ctx context.Context, d *cluster.Draw) (out cluster.Drawn, err error) {
	key, all := limitKey(d.Name), "0"
	if d.All {
		all = "1"
	}
	args := []string{float(d.Most), float(d.Micro), float(d.Need), float(d.Want), all, float(d.Batch), float(d.Share), millis(d.TTL)}
	err = b.do(ctx, key, 0, func(ctx context.Context, l *link) error {
		answer, err := drawScript.Exec(ctx, l.commands, []string{key}, args).AsStrSlice()
		if err != nil {
			return err
		}
		if len(answer) != 2 {
			return fmt.Errorf("%d values in place of 2", len(answer))
		}
		if out.Got, err = strconv.ParseFloat(answer[0], 64); err == nil {
			out.Left, err = strconv.ParseFloat(answer[1], 64)
		}
		return err
	})
	return out, err
}

// Hold implements cluster.Counter.
func (b *Backend) Hold(ctx context.Context, name, replica string, least, want, most int, ttl time.Duration) (int, error) {
	return b.count(ctx, holdScript, limitKey(name), replica, strconv.Itoa(least), strconv.Itoa(want), strconv.Itoa(most), millis(ttl))
}

// Present implements cluster.Counter.
func (b *Backend) Present(ctx context.Context, replica string, ttl time.Duration) (int, error) {
	return b.count(ctx, presentScript, presentKey, replica, strconv.FormatInt(ttl.Milliseconds(), 10))
}

// count runs a script that answers with a number.
func (b *Backend) count(ctx context.Context, s *rueidis.Lua, key string, args ...string) (n int, err error) {
	err = b.do(ctx, key, 0, func(ctx context.Context, l *link) error {
		got, err := s.Exec(ctx, l.commands, []string{key}, args).AsInt64()
		n = int(got)
		return err
	})
	return n, err
}
