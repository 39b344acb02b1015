#!lua flags=allow-oom
-- Reads the records that are due and pushes their times by a grace, so that any number of workers can sweep; requeues
-- those whose lease has ended.
-- KEYS: open, counts; then each task key; then each message key
-- ARGV: publish grace (ms), lost limit, result TTL (ms), time to the next check of a damaged record (ms) and of a
--       released one (ms), leave released ones without a message as they are 1|0, how many come with their message
-- Answer: orphans {incarnation, ID, …}; then for each 0 (nothing to do: another sweep was first, or it is closed),
--         {status, task, queue, position, submitted_at, reclaimed 1|0, message or ''},
--         or the text of what is wrong with the record
local open, counts = KEYS[1], KEYS[2]
local n = (#KEYS - 2) / 2
local lost_limit, ttl, with = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[7])
local leave = ARGV[6] == '1'
local pushed, damaged, soon = text(now + ARGV[1]), text(now + ARGV[4]), text(now + ARGV[5])
local ids = {}
for i = 1, n do ids[i] = sub(KEYS[2 + i], -36) end
local due = call('ZMSCORE', open, unpack(ids))

local function handed(i, r, status, position, reclaimed)
  -- A released record needs a free slot and nothing else. If the caller has none, the record stays due for a worker
  -- that has one, unless the call has found its limit of due records and released ones could hide the rest.
  if leave and status == 'queued' and r[RELEASED] and i > with then return 0 end
  look_at(ids[i], status == 'queued' and (r[RELEASED] or reclaimed) and soon or pushed)
  local message = ''
  if i <= with or not position or position == '' or status == 'failed' then
    message = call('GET', KEYS[2 + n + i]) or ''
  end
  local submitted_at = tonumber(r[SUBMITTED_AT]) or 0
  return {status, r[TASK] or '', r[QUEUE] or 'default', position or '', submitted_at, reclaimed and 1 or 0, message}
end

local function back_to_queue(key, r, ...)
  call('HSET', key, 'st', 'queued', ...)
  count(r[QUEUE], r[STATUS], -1)
  count(r[QUEUE], 'queued', 1)
end

-- The fence stays: a late extend or finish with it is accepted until the next claim.
local function stale(i, key, r)
  local lost, failed = lose(key, r, lost_limit, ttl)
  if failed then return handed(i, r, 'failed', nil, true) end
  back_to_queue(key, r, 'lo', lost, 'rl', 1)
  return handed(i, r, 'queued', r[POSITION], true)
end

local function one(i)
  local key = KEYS[2 + i]
  if not due[i] or tonumber(due[i]) > now then return 0 end
  local r = record(key, TASK)
  local status = r[STATUS]
  local waits = (status == 'processing' or DELAYED[status]) and tonumber(r[DEADLINE]) or 0
  if waits > now then
    look_at(ids[i], text(waits))
    return 0
  elseif not status or ENDED[status] and status ~= 'failed' then
    close(ids[i], KEYS[2 + n + i])
    return 0
  elseif status == 'failed' then
    return handed(i, r, status, nil, false)
  elseif r[CANCEL] then
    return cancelled(key, KEYS[2 + n + i], r, ttl)
  elseif status == 'queued' then
    return handed(i, r, status, r[POSITION], false)
  elseif status == 'processing' then
    return stale(i, key, r)
  elseif DELAYED[status] then
    back_to_queue(key, r, 'fe', text((tonumber(r[FENCE]) or 0) + 1))
    return handed(i, r, 'queued', r[POSITION], false)
  end
  error('status is ' .. status, 0)
end

local answers = {orphans}
for i = 1, n do
  local fine, answer = pcall(one, i)
  if not fine then look_at(ids[i], damaged) end
  answers[i + 1] = fine and answer or why(answer)
end
settle(open, counts)
return answers
