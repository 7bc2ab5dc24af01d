-- Apply changes in order, all or none.
-- KEYS: session, and the lock if there is a lease.  ARGV: now, max bytes, lease or '', what the caller writes
-- between the e and the digits of 1e16, then four for each change:
--   set key value ''  |  default key value ''  |  delete key '' ''
--   add key by kind   |  compare key value expected
-- Returns false if the session is absent, {'lease'} if the lease ran out, {'large', bytes},
-- {'text'} or {'range'} for an increment that cannot be, else {applied, values}.
local session, now = KEYS[1], alive(KEYS[1], ARGV[1])
if not now then return false end
if ARGV[3] ~= '' then
  local lease, till = string.match(redis.call('GET', KEYS[2]) or '', '^(%x+):(.+)$')
  if lease ~= ARGV[3] or now >= time(till) then return {'lease'} end
end

local before = {}   -- what was there, for each field that was touched: false for nothing
local order = {}

local function read(field) return redis.call('HGET', session, field) end

local function touch(field)
  local value = read(field)
  if before[field] == nil then
    before[field] = value
    order[#order + 1] = field
  end
  return value
end

local function write(field, value)
  if value then redis.call('HSET', session, field, value) else redis.call('HDEL', session, field) end
end

local function undo()
  for _, field in ipairs(order) do
    if read(field) ~= before[field] then write(field, before[field]) end
  end
end

local function is_float(text) return string.find(text, '^%-?%d+%.?%d*[eE]?[+-]?%d*$') and string.find(text, '[.eE]') end
local function is_integer(text) return string.find(text, '^%-?%d+$') end

-- Whether two values are the same, by whichever version of the caller's codec they were written.
local function equal(a, b)
  if a == b then return true end
  if not (is_float(a) and is_float(b)) then return false end
  local one, other = tonumber(a), tonumber(b)
  return one == other and (one ~= 0 or 1 / one == 1 / other)
end

local function one_more(digit) return string.char(string.byte(digit) + 1) .. 'e' end

-- The fewest digits that read back as the same float, and its exponent.
local function shortest(value)
  for after_point = 0, 16 do
    local text = string.format('%.' .. after_point .. 'e', value)
    -- Below a power of two floats are closer: what reads back may be the one above.
    local above = string.gsub(text, '([0-8])e', one_more)
    for _, each in ipairs({text, above}) do
      if tonumber(each) == value then
        local sign, first, rest, exponent = string.match(each, '^(%-?)(%d)%.?(%d*)e(.+)$')
        return sign, first .. rest, tonumber(exponent)
      end
    end
  end
end

-- A float as the caller spells one that is set: the same value has the same bytes.
local function float_text(value)
  local sign, digits, exponent = shortest(value)
  local whole = exponent + 1   -- digits before the point
  if whole > 16 or whole < -4 then
    local rest = string.sub(digits, 2)
    local fraction = rest == '' and '' or '.' .. rest
    local plus = exponent > 0 and ARGV[4] or ''
    return sign .. string.sub(digits, 1, 1) .. fraction .. 'e' .. plus .. exponent
  end
  if whole <= 0 then return sign .. '0.' .. string.rep('0', -whole) .. digits end
  if #digits <= whole then return sign .. digits .. string.rep('0', whole - #digits) .. '.0' end
  return sign .. string.sub(digits, 1, whole) .. '.' .. string.sub(digits, whole + 1)
end

local function add(field, there, by, kind)
  there = there or '0'
  if is_integer(there) and kind == 'int' then
    write(field, there)
    local sum = redis.pcall('HINCRBY', session, field, by)
    if type(sum) == 'table' and sum.err then return 'range' end
    return
  end
  if not is_integer(there) and not is_float(there) then return 'text' end
  local sum = tonumber(there) + tonumber(by)
  if sum ~= sum or sum == math.huge or sum == -math.huge then return 'range' end
  write(field, float_text(sum))
end

local values = {}
for i = 5, #ARGV, 4 do
  local verb, field, a, b = ARGV[i], ':' .. ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
  local there = touch(field)
  local shown
  if verb == 'delete' then
    shown = there
    write(field, false)
  else
    local problem
    if verb == 'set' or (verb == 'default' and not there) then
      write(field, a)
    elseif verb == 'add' then
      problem = add(field, there, a, b)
    elseif verb == 'compare' then
      if equal(there or 'null', b) then
        write(field, a)
      else
        undo()
        local now_there = {}
        for j = 5, #ARGV, 4 do now_there[#now_there + 1] = read(':' .. ARGV[j + 1]) end
        return {0, now_there}
      end
    end
    if problem then
      undo()
      return {problem}
    end
    shown = read(field)
  end
  values[#values + 1] = shown
end

local size = count(redis.call('HGET', session, 'z'))
local grown = size
for _, field in ipairs(order) do
  local after, was = read(field), before[field]
  if after then grown = grown + #field - 1 + #after end
  if was then grown = grown - (#field - 1 + #was) end
end
if grown > tonumber(ARGV[2]) then
  undo()
  return {'large', grown}
end
if grown ~= size then redis.call('HSET', session, 'z', grown) end
return {1, values}
