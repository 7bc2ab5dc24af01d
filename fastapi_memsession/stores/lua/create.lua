-- Keep a new record; with a limit, the user's oldest sessions make room for it.
-- KEYS: index, session, then every session of the user.
-- ARGV: now, id, limit or '', id that is replaced or '', time to live of the index in ms, of the
--   session in ms, then the ids of the sessions after the second key, then fields and values.
-- Returns {ids that were ended}; {-1} if the id is taken; {0, ids} if the user's sessions are
-- others than the caller thought, who then tries again with those.
local index, session, now = KEYS[1], KEYS[2], tonumber(ARGV[1])
if redis.call('EXISTS', session) == 1 then return {-1} end
local known = #KEYS - 2
local evicted = {}
if ARGV[3] ~= '' then
  local ids = redis.call('ZRANGE', index, 0, -1)
  local same = #ids == known
  for i = 1, known do same = same and ids[i] == ARGV[6 + i] end
  if not same then return {0, ids} end
  local living = {}
  for i = 1, known do
    local expires = redis.call('HGET', KEYS[2 + i], 'e')
    if expires and now < tonumber(expires) then
      if ids[i] ~= ARGV[4] then living[#living + 1] = i end
    else
      redis.call('ZREM', index, ids[i])
    end
  end
  for n = 1, #living + 1 - tonumber(ARGV[3]) do
    local i = living[n]
    redis.call('DEL', KEYS[2 + i])
    redis.call('ZREM', index, ids[i])
    evicted[n] = ids[i]
  end
end
local fields = {}
for i = 7 + known, #ARGV do fields[#fields + 1] = ARGV[i] end
redis.call('HSET', session, unpack(fields))
redis.call('PEXPIRE', session, ARGV[6])
redis.call('ZADD', index, redis.call('HGET', session, 'c'), ARGV[2])
if redis.call('PTTL', index) < tonumber(ARGV[5]) then redis.call('PEXPIRE', index, ARGV[5]) end
return {1, evicted}
