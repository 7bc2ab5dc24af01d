-- Exchange the token of a generation for the next one.
-- KEYS: index, session.  ARGV: now, generation, grace, id.
local index, session, now, shown = KEYS[1], KEYS[2], tonumber(ARGV[1]), tonumber(ARGV[2])
local expires, generation, used, rotated =
  unpack(redis.call('HMGET', session, 'e', 'g', 'u', 'r'))
if not expires or now >= tonumber(expires) then return 'gone' end
generation = tonumber(generation)
if shown > generation then return 'gone' end
if shown == generation then
  redis.call('HSET', session, 'g', shown + 1, 'u', shown, 'r', ARGV[1])
  return 'rotated'
end
local unused = tonumber(used) < generation
if shown == generation - 1 and (unused or now - tonumber(rotated) < tonumber(ARGV[3])) then
  return 'repeated'
end
redis.call('DEL', session)
redis.call('ZREM', index, ARGV[4])
return 'reused'
