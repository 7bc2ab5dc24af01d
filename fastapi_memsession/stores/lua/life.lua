-- What several scripts do to the life of a session. Stands before each of them.

-- Return a time that is kept as text; one that is long ago if it is not there, or is none that a clock
-- could tell: see redis_layout.py.
local function time(text)
  local found = tonumber(text)
  return found and math.abs(found) < 1e17 and found or -1e17
end

-- Return a number of something that is kept as text; 0 if it is none.
local function count(text) return tonumber(text) or 0 end

-- Return now, as a number, if the session lives at that time, else false.
local function alive(session, now)
  return tonumber(now) < time(redis.call('HGET', session, 'e')) and tonumber(now)
end

-- Have Redis keep a session, or why it ended, for so many seconds and a slack: callers' clocks
-- differ. No life is as long as the bound, and Redis takes no more.
local function keep(session, seconds)
  if math.abs(seconds) > 9e13 then seconds = 0 end
  redis.call('PEXPIRE', session, math.ceil(seconds * 1000) + 60000)
end

-- Note a use: the idle expiration starts again, and never passes the deadline.
local function renew(session, now)
  local deadline, idle = unpack(redis.call('HMGET', session, 'd', 'x'))
  local expires = math.min(tonumber(now) + time(idle), time(deadline))
  redis.call('HSET', session, 'l', now, 'e', string.format('%.17g', expires))
  keep(session, expires - tonumber(now))
end

-- Keep why a session ended, and the id under which it lives on, where it was, until its deadline by
-- the caller's clock; and tell whoever listens to the user's channel. It has ended all the same if we have no right to publish there.
local function remember(session, now, reason, deadline, successor)
  redis.call('HSET', session, 'q', reason, 'd', deadline or 0)
  if successor then redis.call('HSET', session, 's', successor) end
  keep(session, time(deadline) - tonumber(now))
  local user, id = string.match(session, '^(.+}):s:(.+)$')
  redis.pcall('PUBLISH', user .. ':ended', id .. ' ' .. reason .. ' ' .. (successor or ''))
end

-- End a session; leave why in its place for as long as its tokens could live. Return if it lived.
local function finish(session, now, reason)
  local expires, deadline = unpack(redis.call('HMGET', session, 'e', 'd'))
  if not expires then return false end -- was never here, or has ended: the first reason stays
  redis.call('DEL', session)
  if tonumber(now) >= time(expires) then return false end
  remember(session, now, reason, deadline)
  return true
end
