-- Give the times of live sessions; remove those that are dead, and forget those that are gone.
-- KEYS: index, then sessions.  ARGV: now, then their ids.
-- Returns {how many were removed, for each live one: {id, created, seen, expires}}.
local now, removed, living = tonumber(ARGV[1]), 0, {}
for i = 2, #KEYS do
  local created, seen, expires = unpack(redis.call('HMGET', KEYS[i], 'c', 'l', 'e'))
  if expires and now < tonumber(expires) then
    living[#living + 1] = {ARGV[i], created, seen, expires}
  else
    removed = removed + redis.call('DEL', KEYS[i])
    redis.call('ZREM', KEYS[1], ARGV[i])
  end
end
return {removed, living}
