-- Give a live session a new id.
-- KEYS: index, session, the session under its new id.  ARGV: now, old id, new id.
-- Returns false if the session is absent, {-1} if the new id is taken, else the record.
local expires = redis.call('HGET', KEYS[2], 'e')
if not expires or tonumber(ARGV[1]) >= tonumber(expires) then return false end
if redis.call('EXISTS', KEYS[3]) == 1 then return {-1} end
redis.call('RENAME', KEYS[2], KEYS[3])
redis.call('ZREM', KEYS[1], ARGV[2])
redis.call('ZADD', KEYS[1], redis.call('HGET', KEYS[3], 'c'), ARGV[3])
return redis.call('HGETALL', KEYS[3])
