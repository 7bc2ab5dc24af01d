-- Give the record, renewed if it is time to. A load that renews nothing writes nothing.
-- KEYS: session.  ARGV: now, renew interval or '', generation or ''.
local session, now = KEYS[1], tonumber(ARGV[1])
local expires, idle, seen, generation, used =
  unpack(redis.call('HMGET', session, 'e', 'x', 'l', 'g', 'u'))
if now >= time(expires) then return false end
if ARGV[2] ~= '' and now - time(seen) >= math.min(tonumber(ARGV[2]), time(idle) / 2) then
  renew(session, ARGV[1])
end
local shown = tonumber(ARGV[3])
if shown and shown > count(used) and shown <= count(generation) then
  redis.call('HSET', session, 'u', ARGV[3])
end
return redis.call('HGETALL', session)
