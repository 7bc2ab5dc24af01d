-- End a session.  KEYS: index, session.  ARGV: now, id, reason.  Returns 1 if it was live.
local live = finish(KEYS[2], ARGV[1], ARGV[3])
redis.call('ZREM', KEYS[1], ARGV[2])
return live and 1 or 0
