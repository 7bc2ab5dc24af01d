-- Keep a new record; with a limit, the user's oldest sessions make room for it.
-- KEYS: index, session, revocation, the session that is replaced, then every session of the user.
-- ARGV: now, id, limit or '', when the login began or '', for how many seconds a login can be
--   stopped, time to live of the index in ms, of the session in ms, then the ids of the sessions
--   from the fourth key on, then fields and values. A login that replaces none names itself.
-- Returns {'done', ids that were ended}; {'taken'} if the id is; {'stopped'} if all sessions of the
-- user were ended since the login began; {'others', ids} if the user's sessions are others than the
-- caller thought, {'renamed', id} if the one that is replaced was given that new id: the caller
-- tries again.
local index, session, now = KEYS[1], KEYS[2], tonumber(ARGV[1])
if ARGV[4] ~= '' then
  local revoked = redis.call('GET', KEYS[3])
  revoked = revoked and tonumber(revoked)
  if revoked and tonumber(ARGV[4]) < revoked and now - revoked < tonumber(ARGV[5]) then
    return {'stopped'}
  end
end
if redis.call('EXISTS', session) == 1 then return {'taken'} end
local successor = redis.call('HGET', KEYS[4], 's')
if successor then return {'renamed', successor} end
local known = #KEYS - 4
local evicted = {}
if ARGV[3] ~= '' then
  local ids = redis.call('ZRANGE', index, 0, -1)
  local same = #ids == known
  for i = 1, known do same = same and ids[i] == ARGV[8 + i] end
  if not same then return {'others', ids} end
  local living = {}
  for i = 1, known do
    if not alive(KEYS[4 + i], now) then
      redis.call('ZREM', index, ids[i])
    elseif ids[i] ~= ARGV[8] then
      living[#living + 1] = i
    end
  end
  for n = 1, #living + 1 - tonumber(ARGV[3]) do
    local i = living[n]
    finish(KEYS[4 + i], now, 'evicted')
    redis.call('ZREM', index, ids[i])
    evicted[n] = ids[i]
  end
end
for i = 9 + known, #ARGV, 2 do redis.call('HSET', session, ARGV[i], ARGV[i + 1]) end
redis.call('PEXPIRE', session, ARGV[7])
redis.call('ZADD', index, redis.call('HGET', session, 'c'), ARGV[2])
if redis.call('PTTL', index) < tonumber(ARGV[6]) then redis.call('PEXPIRE', index, ARGV[6]) end
return {'done', evicted}
