#!lua flags=allow-oom
-- Stores the positions of acknowledged messages; moves the time at which a queued one is looked at.
-- KEYS: open; then each task key
-- ARGV: queue check (ms), its longest (ms), that of a released one (ms); then for each: position
-- Answer: for each 1, or the text of what is wrong with the record
local open = KEYS[1]
local check, longest, soon = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])

-- A released record is looked at often, a waiting one ever more seldom, as long as its message is the same.
local function wait_of(key, position, r)
  if r[4] then return soon end
  if r[2] ~= position then
    if r[3] then call('HDEL', key, 'ck') end
    return check
  end
  local doubled = math.min(2 * (tonumber(r[3]) or check), longest)
  call('HSET', key, 'ck', text(doubled))
  return doubled
end

-- Not for a scheduled record: its retry has cleared the position, and this is the old message's.
local function one(i)
  local key, position = KEYS[1 + i], ARGV[3 + i]
  local r = call('HMGET', key, 'st', 'po', 'ck', 'rl')
  if r[1] == 'queued' then
    look_at(sub(key, -36), now + wait_of(key, position, r))
  elseif r[1] ~= 'processing' then
    return 1
  end
  if r[2] ~= position then call('HSET', key, 'po', position) end
  return 1
end

local answers = {}
for i = 1, #KEYS - 1 do
  local fine, answer = pcall(one, i)
  answers[i] = fine and answer or why(answer)
end
settle(open)
return answers
