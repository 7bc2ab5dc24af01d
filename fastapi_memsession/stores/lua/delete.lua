-- End a session.  KEYS: index, session.  ARGV: now, id, reason.
-- Returns 1 if it was live, its next id if it was given a new one, else 0.
local live = finish(KEYS[2], ARGV[1], ARGV[3])
redis.call('ZREM', KEYS[1], ARGV[2])
return live and 1 or redis.call('HGET', KEYS[2], 's') or 0
