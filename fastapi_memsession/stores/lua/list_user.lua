-- Give what may be shown of live sessions; remove those that are dead, forget those that are gone.
-- KEYS: index, then every session of the user.  ARGV: now, then their ids.
-- Returns {how many were removed, for each live one: {id, the fields that may be shown}};
-- {-1, ids} if the sessions are others than the caller thought.
local now, removed, living = tonumber(ARGV[1]), 0, {}
local ids = redis.call('ZRANGE', KEYS[1], 0, -1)
local same = #ids == #KEYS - 1
for i = 1, #ids do same = same and ids[i] == ARGV[1 + i] end
if not same then return {-1, ids} end
for i = 2, #KEYS do
  local fields = redis.call('HMGET', KEYS[i], 'c', 'l', 'e', 'i', 'a', 'a1', 'a2', 'a3')
  local expires = fields[3]
  if expires and now < time(expires) then
    living[#living + 1] = {ARGV[i], unpack(fields)}
  else
    if expires then removed = removed + redis.call('DEL', KEYS[i]) end
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return {removed, living}
