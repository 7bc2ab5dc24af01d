-- Replace the claims if they are the expected ones.
-- KEYS: session.  ARGV: now, expected, claims; as JSON.
-- Returns false if the session is absent, else the record as it is then.
if not alive(KEYS[1], ARGV[1]) then return false end
if redis.call('HGET', KEYS[1], 'k') == ARGV[2] then redis.call('HSET', KEYS[1], 'k', ARGV[3]) end
return redis.call('HGETALL', KEYS[1])
