#!lua flags=allow-oom
-- Takes ready records for an immediate claim: the first of the given ones, of which the bodies fit.
-- KEYS: the four indexes, counts; then each task key; then each message key
-- ARGV: how many at most, bytes of bodies at most, the first may be larger 1|0, time for the claim (ms),
--       time to the next look at a damaged record (ms), the newest format version of a message that the caller reads;
--       then each name of a task that is left to other workers
-- Answer: how many are left in `ready`; then for each taken one its submitted_at (ms, 0: not known) and body ('': none)
local n = (#KEYS - 5) / 2
local most, room, alone = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local claimed_by, damaged, newest = text(now + ARGV[4]), text(now + ARGV[5]), tonumber(ARGV[6])
local elsewhere = {}
for i = 7, #ARGV do elsewhere[ARGV[i]] = true end
local ids = {}
for i = 1, n do ids[i] = sub(KEYS[5 + i], -36) end
local since = call('ZMSCORE', READY, unpack(ids))
local answers, taken = {0}, 0

-- True for a message that another worker must read. Its version stands first, or after its time.
local function too_new(body)
  local version = string.match(body, '^{"v":(%d+)') or string.match(body, '^{"submitted_at":%d+,"v":(%d+)')
  return version and tonumber(version) > newest
end

-- Leave one record to other workers, behind those that this one can take.
local function leave(i)
  put(READY, ids[i], now_text)
  return true
end

-- Take one record; false if its body does not fit into this answer.
local function take(i, submitted_at)
  local body = call('GET', KEYS[5 + n + i]) or ''
  if too_new(body) then return leave(i) end
  if #body > room and not (alone and taken == 0) then return false end
  room = room - #body
  taken = taken + 1
  answers[2 * taken], answers[2 * taken + 1] = tonumber(submitted_at) or 0, body
  drop(READY, ids[i])
  put(OPEN, ids[i], claimed_by)
  return true
end

local function one(i)
  if not since[i] then return true end  -- another worker was first
  local status, task, released, submitted_at = unpack(call('HMGET', KEYS[5 + i], 'st', 'tk', 'rl', 'sa'))
  if status ~= 'queued' or not released then
    drop(READY, ids[i])
    return true
  elseif elsewhere[task] then
    return leave(i)
  end
  return take(i, submitted_at)
end

for i = 1, n do
  if taken == most then break end
  local fine, more = pcall(one, i)
  if not fine then
    drop(READY, ids[i])
    put(OPEN, ids[i], damaged)
  elseif not more then
    break
  end
end
settle()
answers[1] = call('ZCARD', READY)
return answers
