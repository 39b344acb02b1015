-- What every script begins with. Nothing here depends on data; the loader puts it after the script's first line.
--
-- The rules of all scripts: an ID is the last 36 characters of its task key; a script is given at most 200 IDs, so
-- that unpack stays far below Lua's stack limit; each record is handled under pcall, its error is answered in its own
-- place, and settle() writes the indexes in every case, because Redis does not roll back what a script has done.
-- Numbers become text by string.format only (tostring and .. keep 14 digits).

local call, sub, format = redis.call, string.sub, string.format
local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)

local function text(number)
  return format('%.0f', number)
end

local now_text = text(now)
local TRANSIENT = {'nc', 'in', 'dl', 'po', 'rl', 'ck', 'pg', 'no', 'wt'}  -- what an ended record need not keep

-- The index `open`: gathered here, written once by settle().
local scores, scored = {}, 0
local closed, closes = {}, 0
local dropped, drops = {}, 0
local deltas = {}
local orphans, orphaned = {}, 0

local function look_at(id, when)
  scores[scored + 1], scores[scored + 2] = when, id
  scored = scored + 2
end

local function close(id, message_key)
  closes = closes + 1
  closed[closes] = id
  if message_key then
    drops = drops + 1
    dropped[drops] = message_key
  end
end

-- The counters: an empty queue's name stands for the totals of ends, none (as in a record) for `default`.
local function count(queue, status, by)
  local field = (queue or 'default') .. ':' .. status
  deltas[field] = (deltas[field] or 0) + by
end

-- A record taken from a worker that is not the caller: its line in that worker's `held` is for nothing now. The
-- caller removes it, because its key cannot be known before the record is read.
local function orphan(id, incarnation)
  if incarnation and incarnation ~= '' then
    orphans[orphaned + 1], orphans[orphaned + 2] = incarnation, id
    orphaned = orphaned + 2
  end
end

local function settle(open, counts)
  if scored > 0 then call('ZADD', open, unpack(scores)) end
  if closes > 0 then call('ZREM', open, unpack(closed)) end
  if drops > 0 then call('UNLINK', unpack(dropped)) end
  for field, by in pairs(deltas) do
    if by ~= 0 then call('HINCRBY', counts, field, by) end
  end
end

local function why(failure)
  return type(failure) == 'table' and failure.err or tostring(failure)
end

-- Whoever waits for the end of this record is told. A refused PUBLISH is no reason to refuse the end: waiters ask
-- every few seconds too.
local function tell(id, waiters)
  if waiters then
    for channel in string.gmatch(waiters, '%S+') do redis.pcall('PUBLISH', channel, id) end
  end
end

-- One line of JSON about a run that is over; at most ten are kept. `beginning` is an object cut before the attempt.
local function remember(key, beginning, attempt, ended_ms)
  local line = format('%s"attempt":%d,"ended_at":%.3f}', beginning, attempt, ended_ms / 1000)
  local all = call('HGET', key, 'hi')
  if all then
    line = all .. '\n' .. line
    local _, breaks = string.gsub(line, '\n', '')
    if breaks >= 10 then line = sub(line, string.find(line, '\n', 1, true) + 1) end
  end
  call('HSET', key, 'hi', line)
end

-- The worker of this record let its lease end. The name is checked where it is set; what else may stand in a
-- damaged record must not break the line.
local function remember_lost(key, attempt, deadline)
  local worker = string.gsub(call('HGET', key, 'wk') or '', '[^%w_.@-]', '?')
  remember(key, '{"worker_id":"' .. worker .. '","reason":"worker lost",', attempt, deadline)
end

-- End a record from outside its run, which raises its fence by one, so that a late outcome is refused.
-- record: queue, status, fence, incarnation. ending: pairs of fields to be written.
local function end_outside(key, message_key, record, status, ttl, ...)
  local id = sub(key, -36)
  local waiters = call('HGET', key, 'wt')
  if status == 'failed' then
    look_at(id, now_text)
  else
    close(id, message_key)
  end
  call('HSET', key, 'st', status, 'fe', text((record.fence or 0) + 1), 'fi', now_text, ...)
  call('HDEL', key, unpack(TRANSIENT))
  if status ~= 'failed' then call('PEXPIRE', key, ttl) end
  count(record.queue, record.status, -1)
  count('', status, 1)
  orphan(id, record.incarnation)
  tell(id, waiters)
end

local function worker_lost(times)
  return format('{"type":"WorkerLost","message":"worker lost %d times"}', times)
end

-- May a task of this age have run and expired? Not if its record may have been lost with a part of the store:
-- then it lies in a window of the epoch's past, or no epoch stands.
local function too_old(epoch, submitted_at, ttl)
  if submitted_at <= 0 or now - submitted_at < ttl then return false end
  local stands = call('HMGET', epoch, 'id', 'past')
  if not stands[1] then return false end
  for begins, ends in string.gmatch(stands[2] or '', '[^:;]*:%d+:(%d+):(%d+);') do
    if submitted_at >= tonumber(begins) and submitted_at <= tonumber(ends) then return false end
  end
  return true
end
