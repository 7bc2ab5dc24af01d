-- Give the lock back.  KEYS: lock.  ARGV: now, lease.  Returns 1 if the lease still held it.
local lease, till = string.match(redis.call('GET', KEYS[1]) or '', '^(%x+):(.+)$')
if lease ~= ARGV[2] then return 0 end
redis.call('DEL', KEYS[1])
return tonumber(ARGV[1]) < time(till) and 1 or 0
