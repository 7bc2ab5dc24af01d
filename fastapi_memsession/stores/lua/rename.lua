-- Give a live session a new id.
-- KEYS: index, session, the session under its new id, a ticket.
-- ARGV: now, old id, new id, when the user proved who they are or ''.
-- Returns false if the session is absent, {-1} if the new id is taken, {-2} if the ticket has run out:
-- whoever asked has given up. Else the record, also to whoever asks for the same again.
local index, session, renamed, now = KEYS[1], KEYS[2], KEYS[3], alive(KEYS[2], ARGV[1])
if redis.call('HGET', session, 's') == ARGV[3] then
  return alive(renamed, ARGV[1]) and redis.call('HGETALL', renamed)
end
if not now then return false end
if redis.call('EXISTS', renamed) == 1 then return {-1} end
if redis.call('DEL', KEYS[4]) == 0 then return {-2} end
redis.call('RENAME', session, renamed)
local created, deadline = unpack(redis.call('HMGET', renamed, 'c', 'd'))
remember(session, now, 'replaced', deadline, ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', renamed, 'v', ARGV[4]) end
redis.call('ZADD', index, time(created), ARGV[3]) -- first: an index that is empty is gone, with its expiry
redis.call('ZREM', index, ARGV[2])
return redis.call('HGETALL', renamed)
