#!lua flags=allow-oom
-- Requeues records without an outcome, each only under its current fence, which it raises by one.
-- KEYS: open, counts, held; then each task key
-- ARGV: incarnation, lost limit, unknown-task TTL (ms);
--       then for each: fence, reason, delay (ms), lost 1|0, note, beginning of a history line, error (if it fails;
--       without a note `worker lost N times`)
-- Answer: for each 1 OK, 3 FENCED, 4 MISSING, or the text of what is wrong with the record
local open, counts, held = KEYS[1], KEYS[2], KEYS[3]
local incarnation, lost_limit, unknown_ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])

-- A run that did not begin counts no attempt.
local function requeue(key, id, r, lost, begun, status, due, note)
  look_at(id, due)
  local attempt = tonumber(r[ATTEMPT]) or 1
  call('HSET', key, 'st', status, 'fe', text(tonumber(r[FENCE]) + 1), 'rl', 1, 'at', begun and attempt or attempt - 1)
  call('HDEL', key, 'nc', 'in', 'dl', 'pg', 'no')
  if not begun then call('HDEL', key, 'wk', 'sd') end
  if DELAYED[status] then call('HSET', key, 'dl', due) end
  if lost > 0 then call('HSET', key, 'lo', lost) end
  if note ~= '' then call('HSET', key, 'no', note) end
  count(r[QUEUE], r[STATUS], -1)
  count(r[QUEUE], status, 1)
end

-- True when no worker has known this task for longer than the limit.
local function unknown_too_long(key)
  return now - (tonumber(call('HGET', key, 'sa')) or now) >= unknown_ttl
end

local function release(key, id, r, a)
  local reason, delay, counted = ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3] == '1'
  local lost = (tonumber(r[LOST]) or 0) + (counted and 1 or 0)
  if counted then remember(key, ARGV[a + 5], tonumber(r[ATTEMPT]) or 1, now) end
  local unknown = reason == 'unknown_task'
  if counted and lost > lost_limit then
    local failure = (ARGV[a + 4] ~= '' or unknown) and ARGV[a + 6] or worker_lost(lost)
    return end_outside(key, nil, r, 'failed', 0, 'er', failure, 'lo', lost)
  end
  if unknown and unknown_too_long(key) then
    return end_outside(key, nil, r, 'failed', 0, 'er', ARGV[a + 6], 'lo', lost)
  end
  local begun = not unknown and reason ~= 'unstarted'
  -- A record that is to be cancelled does not wait: the next sweep ends it.
  if (unknown or delay > 0) and not r[CANCEL] then
    requeue(key, id, r, lost, begun, 'scheduled', text(now + delay), ARGV[a + 4])
  else
    requeue(key, id, r, lost, begun, 'queued', now_text, ARGV[a + 4])
  end
end

local function one(i)
  local key, a = KEYS[3 + i], 7 * i - 3
  local id = sub(key, -36)
  local r = record(key, LOST)
  local status = r[STATUS]
  if not status then
    let_go(id)
    return 4
  end
  if r[FENCE] ~= ARGV[a] then
    if r[INCARNATION] ~= incarnation then let_go(id) end
    -- A fence that is one higher: this release was done before, or the record was taken from this run.
    return tonumber(r[FENCE]) == tonumber(ARGV[a]) + 1 and 1 or 3
  end
  let_go(id)
  if status == 'processing' or status == 'queued' then
    release(key, id, r, a)
    return 1
  elseif ENDED[status] or DELAYED[status] then
    return 1
  end
  return 'status is ' .. status
end

local answers = each(#KEYS - 3, one, {})
settle(open, counts, held)
return answers
