-- The beginning of every script. Nothing here depends on data; the loader puts it after the script's first line.
--
-- The rules of all scripts: an ID is the last 36 characters of its task key; a script takes at most 200 IDs, so that
-- unpack stays far below Lua's stack limit; each record is handled under pcall, and its error is the answer for this
-- record alone; settle() writes the indexes in every case, because Redis does not roll back the writes of a script.
-- Numbers become text by string.format only (tostring and .. keep 14 digits).
--
-- A script touches only keys of its KEYS, all of one shard. A script that changes records has the same first five: the
-- four indexes (of one queue) and the counters. An unfinished record is in exactly one index; if its own queue is not
-- the caller's, because an ID was submitted to two queues after a loss, an entry may stay in the other queue's index:
-- the script that meets it there drops it.
--
-- keys.py lists the fields of a record. A script that reads a few fields unpacks HMGET into local names. A script that
-- hands a record on reads it by record() and its indexes. A script writes and removes the fields that it names and no
-- other, so that a field of a newer version stays.

local call, sub, format = redis.call, string.sub, string.format
local clock = call('TIME')
local now_us = clock[1] * 1000000 + clock[2]
local now = math.floor(now_us / 1000)

local function text(number)
  return format('%.0f', number)
end

local now_text = text(now)
-- The score in `ready` of what was taken from a worker: before every delay and retry, whose score is their due time.
local first_text = text(now - 100000000000)
local OPEN, SCHEDULED, READY, WAITING, COUNTS = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5]
local TRANSIENT = {'nc', 'in', 'dl', 'po', 'rl', 'lf', 'un', 'pg', 'no', 'wt'}  -- an ended record does not need these
local ENDED = {success = true, failed = true, cancelled = true}
local UNFINISHED = {queued = true, processing = true, scheduled = true}
local DELAYED = {scheduled = true}  -- waits for the time in `dl`

-- One record as record() reads it. Its last fields are read by few scripts.
local STATUS, QUEUE, FENCE, INCARNATION, CANCEL, NONCE = 1, 2, 3, 4, 5, 6
local ATTEMPT, DEADLINE, LOST, RELEASED = 7, 8, 9, 10
local POSITION, SUBMITTED_AT, TASK = 11, 12, 13
local RECORD = {'st', 'qu', 'fe', 'in', 'ca', 'nc', 'at', 'dl', 'lo', 'rl', 'po', 'sa', 'tk'}

-- Read the fields up to index `last`.
local function record(key, last)
  return call('HMGET', key, unpack(RECORD, 1, last))
end

-- Changes of the indexes: gathered here by index, written once by settle(). Entries are removed before any is added.
local added, removed, lengths = {}, {}, {}
local dropped, drops = {}, 0
local deltas = {}
local orphans, orphaned = {}, 0
local over, overs = {}, 0

local function put(index, id, score)
  local list = added[index]
  if not list then
    list = {}
    added[index], lengths[list] = list, 0
  end
  local n = lengths[list]
  list[n + 1], list[n + 2] = score, id
  lengths[list] = n + 2
end

local function drop(index, id)
  local list = removed[index]
  if not list then
    list = {}
    removed[index], lengths[list] = list, 0
  end
  local n = lengths[list] + 1
  list[n], lengths[list] = id, n
end

local function drop_everywhere(id)
  drop(OPEN, id)
  drop(SCHEDULED, id)
  drop(READY, id)
  drop(WAITING, id)
end

-- For the rare ways: wherever the record is, it is in this index alone afterwards.
local function move(index, id, score)
  drop_everywhere(id)
  put(index, id, score)
end

local function forget_message(message_key)
  drops = drops + 1
  dropped[drops] = message_key
end

-- The counters. The empty queue counts ended records; a missing queue is `default`, as in a record.
local function count(queue, status, by)
  local field = (queue or 'default') .. ':' .. status
  deltas[field] = (deltas[field] or 0) + by
end

-- Another worker no longer holds this record. The caller removes the line from that worker's `held`, because the key
-- of that list is known only after the record is read.
local function orphan(id, incarnation)
  if incarnation and incarnation ~= '' then
    orphans[orphaned + 1], orphans[orphaned + 2] = incarnation, id
    orphaned = orphaned + 2
  end
end

-- The calling worker no longer holds this record.
local function let_go(id)
  overs = overs + 1
  over[overs] = id
end

local function settle(held)
  for index, list in pairs(removed) do call('ZREM', index, unpack(list)) end
  for index, list in pairs(added) do call('ZADD', index, unpack(list)) end
  if drops > 0 then call('UNLINK', unpack(dropped)) end
  for field, by in pairs(deltas) do
    if by ~= 0 then call('HINCRBY', COUNTS, field, by) end
  end
  if overs > 0 then redis.pcall('HDEL', held, unpack(over)) end
end

local function why(failure)
  return type(failure) == 'table' and failure.err or tostring(failure)
end

-- Append to `answers` the answer of one(i) for each i, or the text of its error.
local function each(n, one, answers)
  local before = #answers
  for i = 1, n do
    local fine, answer = pcall(one, i)
    answers[before + i] = fine and answer or why(answer)
  end
  return answers
end

-- Push the end of this record to the clients that wait for it. A refused PUBLISH must not refuse the end: waiting
-- clients also query every few seconds.
local function push_end(id, waiters)
  if waiters then
    for channel in string.gmatch(waiters, '%S+') do redis.pcall('PUBLISH', channel, id) end
  end
end

-- Add one line of JSON about an ended run; at most ten are kept. `beginning` is an object cut before the attempt.
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

-- The lease of this record ended without an extension. The worker's name is checked when a worker starts, but other
-- characters in a damaged record must not break the line.
local function remember_lost(key, attempt, deadline)
  local worker = string.gsub(call('HGET', key, 'wk') or '', '[^%w_.@-]', '?')
  remember(key, '{"worker_id":"' .. worker .. '","reason":"worker lost",', attempt, deadline)
end

-- A sweep or an offer has put this record back to `queued`, no worker has claimed it since, and its run is alive: if it
-- was counted as lost under this fence, take that back, with the line of history, which is the last one.
local function alive(key, id, fence)
  drop(READY, id)
  local counted, lost, lines = unpack(call('HMGET', key, 'lf', 'lo', 'hi'))
  call('HDEL', key, 'rl', 'lf')
  if counted ~= fence then return end
  if (tonumber(lost) or 0) > 1 then
    call('HSET', key, 'lo', lost - 1)
  else
    call('HDEL', key, 'lo')
  end
  local earlier, last = string.match(lines or '', '^(.*)\n([^\n]*)$')
  if not string.find(last or lines or '', '"reason":"worker lost"', 1, true) then return end
  if earlier then
    call('HSET', key, 'hi', earlier)
  else
    call('HDEL', key, 'hi')
  end
end

-- End a record from outside its run and raise its fence by one, so that a late outcome is refused.
-- r: read up to INCARNATION. The further arguments are pairs of fields to write.
local function end_outside(key, message_key, r, status, ttl, ...)
  local id = sub(key, -36)
  local waiters = call('HGET', key, 'wt')
  if status == 'failed' then
    move(OPEN, id, now_text)
  else
    drop_everywhere(id)
    forget_message(message_key)
  end
  call('HSET', key, 'st', status, 'fe', text((tonumber(r[FENCE]) or 0) + 1), 'fi', now_text, ...)
  call('HDEL', key, unpack(TRANSIENT))
  if status ~= 'failed' then call('PEXPIRE', key, ttl) end
  count(r[QUEUE], r[STATUS], -1)
  count('', status, 1)
  orphan(id, r[INCARNATION])
  push_end(id, waiters)
end

-- End a record that was to be cancelled and does not run. Answers 0 (DONE), or -1 if the caller has not sent the
-- key of the message.
local function cancelled(key, message_key, r, ttl)
  if not message_key then return -1 end
  end_outside(key, message_key, r, 'cancelled', ttl)
  return 0
end

local function worker_lost(times)
  return format('{"type":"WorkerLost","message":"worker lost %d times"}', times)
end

-- The lease of this record has ended: count the loss; past the limit the record fails. r: read up to LOST.
-- Answers how often a worker was lost, and whether the record has failed. If not, the caller writes the number.
local function lose(key, r, limit, ttl)
  local lost = (tonumber(r[LOST]) or 0) + 1
  remember_lost(key, tonumber(r[ATTEMPT]) or 1, tonumber(r[DEADLINE]) or now)
  if lost <= limit then return lost, false end
  end_outside(key, nil, r, 'failed', ttl, 'lo', lost, 'er', worker_lost(lost))
  return lost, true
end

-- True when a task of this age may have run and expired. False if its record may have been lost with a part of the
-- store: then submitted_at is inside a window of the epoch's past, or there is no epoch.
local function too_old(epoch, submitted_at, ttl)
  if submitted_at <= 0 or now - submitted_at < ttl then return false end
  local epoch_id, past = unpack(call('HMGET', epoch, 'id', 'past'))
  if not epoch_id then return false end
  for begins, ends in string.gmatch(past or '', '[^:;]*:%d+:(%d+):(%d+);') do
    if submitted_at >= tonumber(begins) and submitted_at <= tonumber(ends) then return false end
  end
  return true
end

-- Write a new record. ARGV from `a`: task, queue, digest. The further arguments are pairs of fields.
local function write_new(key, a, status, submitted_at, ...)
  call('HSET', key, 'st', status, 'tk', ARGV[a], 'ha', ARGV[a + 2], 'sa', submitted_at, ...)
  if ARGV[a + 1] ~= 'default' then call('HSET', key, 'qu', ARGV[a + 1]) end
  count(ARGV[a + 1], status, 1)
end

-- Write a missing record again from its message; false if the task is too old.
-- ARGV from `a`: task, queue, digest, submitted_at (ms, 0: not known), position, body
local function rebuild(key, message_key, a, status, epoch, ttl)
  local submitted_at, position = tonumber(ARGV[a + 3]), ARGV[a + 4]
  if too_old(epoch, submitted_at, ttl) then return false end
  call('SET', message_key, ARGV[a + 5])
  write_new(key, a, status, submitted_at > 0 and text(submitted_at) or now_text)
  if position ~= '' then call('HSET', key, 'po', position) end
  return true
end
