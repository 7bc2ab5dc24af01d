-- Take the lock of a session if it is free or its lease has run out.
-- KEYS: lock.  ARGV: now, lease, end of the lease, time to live in ms.
-- Returns '' if it is taken now, else the time at which the lease of the holder runs out.
local till = string.match(redis.call('GET', KEYS[1]) or '', '^%x+:(.+)$')
if till and tonumber(ARGV[1]) < time(till) then return till end
redis.call('SET', KEYS[1], ARGV[2] .. ':' .. ARGV[3], 'PX', ARGV[4])
return ''
