-- End all sessions of a user but one, and stop logins that began before.
-- KEYS: index, revocation, the session to keep, then every session of the user.
-- ARGV: now, reason, for how many ms logins are stopped, id to keep or '', then the other ids.
-- Returns {'done', ids that were live}; {'others', ids} if the user's sessions are others than the
-- caller thought, {'renamed', id} if the one to keep was given that new id: the caller tries again.
local index, now = KEYS[1], ARGV[1]
local successor = redis.call('HGET', KEYS[3], 's')
if successor then return {'renamed', successor} end
local ids = redis.call('ZRANGE', index, 0, -1)
local same = #ids == #KEYS - 3
for i = 1, #ids do same = same and ids[i] == ARGV[4 + i] end
if not same then return {'others', ids} end
local ended = {}
for i = 1, #ids do
  if ids[i] ~= ARGV[4] then
    if finish(KEYS[3 + i], now, ARGV[2]) then ended[#ended + 1] = ids[i] end
    redis.call('ZREM', index, ids[i])
  end
end
local before = redis.call('GET', KEYS[2])
if not before or time(before) < tonumber(now) then redis.call('SET', KEYS[2], now, 'PX', ARGV[3]) end
return {'done', ended}
