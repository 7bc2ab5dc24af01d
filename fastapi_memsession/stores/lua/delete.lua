-- End a session.  KEYS: index, session.  ARGV: now, id.  Returns 1 if it was live.
local expires = redis.call('HGET', KEYS[2], 'e')
redis.call('DEL', KEYS[2])
redis.call('ZREM', KEYS[1], ARGV[2])
return expires and tonumber(ARGV[1]) < tonumber(expires) and 1 or 0
