#!lua flags=allow-oom
-- Stores the positions of acknowledged messages; sets the time of the next check of a queued record.
-- KEYS: open; then each task key
-- ARGV: queue check (ms), its longest (ms), that of a released one (ms); then for each: position
-- Answer: for each 1, or the text of what is wrong with the record
local open = KEYS[1]
local first, longest, soon = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- A released record is checked often. A waiting one is checked ever less often while its message is the same.
local function wait_of(key, moved, check, released)
  if released then return soon end
  if moved then
    if check then call('HDEL', key, 'ck') end
    return first
  end
  local doubled = math.min(2 * (tonumber(check) or first), longest)
  call('HSET', key, 'ck', text(doubled))
  return doubled
end

-- A scheduled record is left alone: its retry has cleared the position, and this one belongs to the old message.
local function one(i)
  local key, position = KEYS[1 + i], ARGV[3 + i]
  local status, before, check, released = unpack(call('HMGET', key, 'st', 'po', 'ck', 'rl'))
  if status == 'queued' then
    look_at(sub(key, -36), now + wait_of(key, before ~= position, check, released))
  elseif status ~= 'processing' then
    return 1
  end
  if before ~= position then call('HSET', key, 'po', position) end
  return 1
end

local answers = each(#KEYS - 1, one, {})
settle(open)
return answers
