-- Keep a new record; with a limit, the user's oldest sessions make room for it.
-- KEYS: index, session, revocation, then every session of the user.
-- ARGV: now, id, limit or '', id that is replaced or '', when the login began or '', for how many
--   seconds a login can be stopped, time to live of the index in ms, of the session in ms, then
--   the ids of the sessions after the third key, then fields and values.
-- Returns {1, ids that were ended}; {-1} if the id is taken; {-2} if all sessions of the user
-- were ended since the login began; {0, ids} if the user's sessions are others than the caller
-- thought, who then tries again with those.
local index, session, now = KEYS[1], KEYS[2], tonumber(ARGV[1])
if ARGV[5] ~= '' then
  local revoked = redis.call('GET', KEYS[3])
  revoked = revoked and tonumber(revoked)
  if revoked and tonumber(ARGV[5]) < revoked and now - revoked < tonumber(ARGV[6]) then
    return {-2}
  end
end
if redis.call('EXISTS', session) == 1 then return {-1} end
local known = #KEYS - 3
local evicted = {}
if ARGV[3] ~= '' then
  local ids = redis.call('ZRANGE', index, 0, -1)
  local same = #ids == known
  for i = 1, known do same = same and ids[i] == ARGV[8 + i] end
  if not same then return {0, ids} end
  local living = {}
  for i = 1, known do
    if not alive(KEYS[3 + i], now) then
      redis.call('ZREM', index, ids[i])
    elseif ids[i] ~= ARGV[4] then
      living[#living + 1] = i
    end
  end
  for n = 1, #living + 1 - tonumber(ARGV[3]) do
    local i = living[n]
    finish(KEYS[3 + i], now, 'evicted')
    redis.call('ZREM', index, ids[i])
    evicted[n] = ids[i]
  end
end
for i = 9 + known, #ARGV, 2 do redis.call('HSET', session, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', session, ARGV[8])
redis.call('ZADD', index, redis.call('HGET', session, 'c'), ARGV[2])
if redis.call('PTTL', index) < tonumber(ARGV[7]) then redis.call('PEXPIRE', index, ARGV[7]) end
return {1, evicted}
