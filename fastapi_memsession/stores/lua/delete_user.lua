-- End all sessions of a user but one, and stop logins that began before.
-- KEYS: index, revocation, then every session of the user.
-- ARGV: now, id to keep or '', reason, for how many ms logins are stopped, then the ids.
-- Returns {1, ids that were live}; {0, ids} if they are others than the caller thought.
local index, now = KEYS[1], ARGV[1]
local ids = redis.call('ZRANGE', index, 0, -1)
local same = #ids == #KEYS - 2
for i = 1, #ids do same = same and ids[i] == ARGV[4 + i] end
if not same then return {0, ids} end
local ended = {}
for i = 1, #ids do
  if ids[i] ~= ARGV[2] then
    if finish(KEYS[2 + i], now, ARGV[3]) then ended[#ended + 1] = ids[i] end
    redis.call('ZREM', index, ids[i])
  end
end
local before = redis.call('GET', KEYS[2])
if not before or tonumber(before) < tonumber(now) then redis.call('SET', KEYS[2], now, 'PX', ARGV[4]) end
return {1, ended}
