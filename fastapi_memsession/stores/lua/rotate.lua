-- Exchange the token of a generation for the next one.
-- KEYS: index, session.  ARGV: now, generation, grace, id.
-- Returns {outcome, record}, without a record if it is gone or was reused.
local index, session, now, shown = KEYS[1], KEYS[2], alive(KEYS[2], ARGV[1]), tonumber(ARGV[2])
if not now then return {'gone'} end
local generation, used, rotated = unpack(redis.call('HMGET', session, 'g', 'u', 'r'))
generation = count(generation)
if shown < 0 or shown > generation then return {'gone'} end
local outcome
if shown == generation then
  outcome = 'rotated'
  redis.call('HSET', session, 'g', shown + 1, 'u', shown, 'r', ARGV[1])
elseif shown == generation - 1
  and (count(used) < generation or now - time(rotated) < tonumber(ARGV[3])) then
  outcome = 'repeated'
else
  finish(session, ARGV[1], 'reused')
  redis.call('ZREM', index, ARGV[4])
  return {'reused'}
end
renew(session, ARGV[1])
return {outcome, redis.call('HGETALL', session)}
