-- Give the record, renewed if it is time to. A load that renews nothing writes nothing.
-- KEYS: session.  ARGV: now, renew interval or '', generation or ''.
local session, now = KEYS[1], tonumber(ARGV[1])
local expires, deadline, idle, seen, generation, used =
  unpack(redis.call('HMGET', session, 'e', 'd', 'x', 'l', 'g', 'u'))
if not expires or now >= tonumber(expires) then return false end
idle = tonumber(idle)
if ARGV[2] ~= '' and now - tonumber(seen) >= math.min(tonumber(ARGV[2]), idle / 2) then
  local renewed = math.min(now + idle, tonumber(deadline))
  redis.call('HSET', session, 'l', ARGV[1], 'e', string.format('%.17g', renewed))
  redis.call('PEXPIRE', session, math.ceil((renewed - now) * 1000) + 60000)
end
local shown = tonumber(ARGV[3])
if shown and shown > tonumber(used) and shown <= tonumber(generation) then
  redis.call('HSET', session, 'u', ARGV[3])
end
return redis.call('HGETALL', session)
