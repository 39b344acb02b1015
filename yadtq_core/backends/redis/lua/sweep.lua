#!lua flags=allow-oom
-- Looks at what is due, pushes it by a grace, so that any number of workers can sweep; takes back what is stale.
-- KEYS: open, counts; then each task key; then each message key
-- ARGV: publish grace (ms), lost limit, result TTL (ms), look again at a damaged one after (ms), at a released one
--       after (ms), leave released ones that come without a message where they are 1|0, with so many messages
-- Answer: orphans {incarnation, ID, …}; then for each 0 (nothing to do: another sweep was here, or it is closed),
--         {status, task, queue, position, submitted_at, reclaimed 1|0, message or ''},
--         or the text of what is wrong with the record
local open, counts = KEYS[1], KEYS[2]
local n = (#KEYS - 2) / 2
local lost_limit, ttl, with = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[7])
local leave = ARGV[6] == '1'
local pushed, soon = text(now + ARGV[1]), text(now + ARGV[5])
local ids = {}
for i = 1, n do ids[i] = sub(KEYS[2 + i], -36) end
local due = call('ZMSCORE', open, unpack(ids))

local function record_of(r)
  return {queue = r[3], status = r[1], fence = tonumber(r[5]), incarnation = r[10]}
end

local function handed(i, r, status, position, reclaimed)
  -- A released one waits for a slot only: without one it is left where it is, for the next free slot anywhere; unless
  -- there are so many that they would hide what is due behind them.
  if leave and status == 'queued' and r[12] and i > with then return 0 end
  look_at(ids[i], status == 'queued' and (r[12] or reclaimed) and soon or pushed)
  local message = ''
  if i <= with or not position or position == '' or status == 'failed' then
    message = call('GET', KEYS[2 + n + i]) or ''
  end
  return {status, r[2] or '', r[3] or 'default', position or '', tonumber(r[9]) or 0, reclaimed and 1 or 0, message}
end

local function back_to_queue(key, r, ...)
  call('HSET', key, 'st', 'queued', ...)
  count(r[3], r[1], -1)
  count(r[3], 'queued', 1)
end

-- The fence stays: a late extend or finish with it is accepted until somebody claims.
local function stale(i, key, r)
  local lost = (tonumber(r[7]) or 0) + 1
  remember_lost(key, tonumber(r[6]) or 1, tonumber(r[4]) or now)
  if lost <= lost_limit then
    back_to_queue(key, r, 'lo', lost, 'rl', 1)
    return handed(i, r, 'queued', r[8], true)
  end
  end_outside(key, nil, record_of(r), 'failed', ttl, 'lo', lost, 'er', worker_lost(lost))
  return handed(i, r, 'failed', nil, true)
end

local function one(i)
  local key = KEYS[2 + i]
  if not due[i] or tonumber(due[i]) > now then return 0 end
  local r = call('HMGET', key, 'st', 'tk', 'qu', 'dl', 'fe', 'at', 'lo', 'po', 'sa', 'in', 'ca', 'rl')
  local status = r[1]
  local waits = (status == 'processing' or status == 'scheduled') and tonumber(r[4]) or 0
  if waits > now then
    look_at(ids[i], text(waits))
    return 0
  elseif not status or status == 'success' or status == 'cancelled' then
    close(ids[i], KEYS[2 + n + i])
    return 0
  elseif status == 'failed' then
    return handed(i, r, status, nil, false)
  elseif r[11] then
    end_outside(key, KEYS[2 + n + i], record_of(r), 'cancelled', ttl)
    return 0
  elseif status == 'queued' then
    return handed(i, r, status, r[8], false)
  elseif status == 'processing' then
    return stale(i, key, r)
  elseif status == 'scheduled' then
    back_to_queue(key, r, 'fe', text((tonumber(r[5]) or 0) + 1))
    return handed(i, r, 'queued', r[8], false)
  end
  error('status is ' .. status, 0)
end

local answers = {orphans}
local damaged = text(now + ARGV[4])
for i = 1, n do
  local fine, answer = pcall(one, i)
  if not fine then look_at(ids[i], damaged) end
  answers[i + 1] = fine and answer or why(answer)
end
settle(open, counts)
return answers
