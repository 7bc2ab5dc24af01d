-- What several scripts do to the life of a session. Stands before each of them.

-- Return now, as a number, if the session lives at that time, else false.
local function alive(session, now)
  local expires = redis.call('HGET', session, 'e')
  return expires and tonumber(now) < tonumber(expires) and tonumber(now)
end

-- Note a use: the idle expiration starts again, and never passes the deadline.
local function renew(session, now)
  local deadline, idle = unpack(redis.call('HMGET', session, 'd', 'x'))
  local expires = math.min(tonumber(now) + tonumber(idle), tonumber(deadline))
  redis.call('HSET', session, 'l', now, 'e', string.format('%.17g', expires))
  redis.call('PEXPIRE', session, math.ceil((expires - tonumber(now)) * 1000) + 60000)
end

-- Keep why a session ended, and the id under which it lives on, where it was, until its deadline by
-- the caller's clock; and tell whoever listens to the user's channel. It has ended all the same if we have no right to publish there.
local function remember(session, now, reason, deadline, successor)
  redis.call('HSET', session, 'q', reason, 'd', deadline)
  if successor then redis.call('HSET', session, 's', successor) end
  redis.call('PEXPIRE', session, math.ceil((tonumber(deadline) - tonumber(now)) * 1000) + 60000)
  local user, id = string.match(session, '^(.+}):s:(.+)$')
  redis.pcall('PUBLISH', user .. ':ended', id .. ' ' .. reason .. ' ' .. (successor or ''))
end

-- End a session; leave why in its place for as long as its tokens could live. Return if it lived.
local function finish(session, now, reason)
  local expires, deadline = unpack(redis.call('HMGET', session, 'e', 'd'))
  if not expires then return false end -- was never here, or has ended: the first reason stays
  redis.call('DEL', session)
  if tonumber(now) >= tonumber(expires) then return false end
  remember(session, now, reason, deadline)
  return true
end
