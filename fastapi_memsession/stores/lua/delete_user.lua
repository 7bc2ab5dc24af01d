-- End all sessions of a user but one.
-- KEYS: index, then every session of the user.  ARGV: now, id to keep or '', then their ids.
-- Returns {1, ids that were live}; {0, ids} if they are others than the caller thought.
local index, now = KEYS[1], tonumber(ARGV[1])
local ids = redis.call('ZRANGE', index, 0, -1)
local same = #ids == #KEYS - 1
for i = 1, #ids do same = same and ids[i] == ARGV[2 + i] end
if not same then return {0, ids} end
local ended = {}
for i = 1, #ids do
  if ids[i] ~= ARGV[2] then
    local expires = redis.call('HGET', KEYS[1 + i], 'e')
    if expires and now < tonumber(expires) then ended[#ended + 1] = ids[i] end
    redis.call('DEL', KEYS[1 + i])
    redis.call('ZREM', index, ids[i])
  end
end
return {1, ended}
