#!lua flags=allow-oom
-- Requeues records without an outcome, each only under its current fence, which it raises by one.
-- KEYS: the four indexes, counts, held; then each task key
-- ARGV: incarnation, lost limit, unknown-task TTL (ms), least and longest wait (ms) of a task that this worker lacks;
--       then for each: fence, reason, delay (ms; for such a task: 0, or the script decides), lost 1|0, note,
--       beginning of a history line, error (if it fails; without a note `worker lost N times`)
-- Answer: for each 1 OK, 3 FENCED, 4 MISSING, or the text of what is wrong with the record
local held = KEYS[6]
local incarnation, lost_limit, unknown_ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local least_wait, longest_wait = tonumber(ARGV[4]), tonumber(ARGV[5])

-- A run that did not begin counts no attempt.
local function requeue(key, id, r, lost, begun, status, due, note)
  drop(OPEN, id)
  if DELAYED[status] then
    put(SCHEDULED, id, due)
  else
    if r[CANCEL] then
      put(OPEN, id, due)  -- the next sweep ends it
    else
      put(READY, id, first_text)
    end
  end
  local attempt = tonumber(r[ATTEMPT]) or 1
  call('HSET', key, 'st', status, 'fe', text(tonumber(r[FENCE]) + 1), 'rl', 1, 'at', begun and attempt or attempt - 1)
  call('HDEL', key, 'nc', 'in', 'dl', 'lf', 'pg', 'no')
  if not begun then call('HDEL', key, 'wk', 'sd') end
  if DELAYED[status] then call('HSET', key, 'dl', due) end
  if lost then call('HSET', key, 'lo', lost) end
  if note ~= '' then call('HSET', key, 'no', note) end
  count(r[QUEUE], r[STATUS], -1)
  count(r[QUEUE], status, 1)
end

-- How long this task has been unknown to the workers that asked for it (ms): since its first release for this reason.
-- A release for another reason, or because a peer has loaded the task, shows that it is known.
local function unknown_for(key, unknown)
  if not unknown then
    call('HDEL', key, 'un')
    return 0
  end
  local since = tonumber(call('HGET', key, 'un'))
  if not since then call('HSET', key, 'un', now_text) end
  return now - (since or now)
end

local function release(key, id, r, a)
  local reason, delay, counted = ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3] == '1'
  if r[STATUS] == 'queued' then
    if counted then drop(READY, id) else alive(key, id, r[FENCE]) end
    counted = false  -- the sweep or offer that has put it back to queued has counted this death
  end
  local lost = counted and (tonumber(r[LOST]) or 0) + 1 or nil
  if lost then
    remember(key, ARGV[a + 5], tonumber(r[ATTEMPT]) or 1, now)
    if lost > lost_limit then
      local failure = (ARGV[a + 4] ~= '' or reason == 'unknown_task') and ARGV[a + 6] or worker_lost(lost)
      return end_outside(key, nil, r, 'failed', 0, 'er', failure, 'lo', lost)
    end
  end
  local misfit = reason == 'unknown_task' or reason == 'binding_failed'
  local unknown = reason == 'unknown_task' and delay > 0
  local age = unknown_for(key, unknown)
  if unknown and age >= unknown_ttl and age > 0 then
    return end_outside(key, nil, r, 'failed', 0, 'er', ARGV[a + 6])
  end
  if misfit and delay > 0 then delay = math.min(math.max(math.floor(age / 4), least_wait), longest_wait) end
  local begun = not misfit and reason ~= 'unstarted'
  if delay > 0 and not r[CANCEL] then
    requeue(key, id, r, lost, begun, 'scheduled', text(now + delay), ARGV[a + 4])
  else
    requeue(key, id, r, lost, begun, 'queued', now_text, ARGV[a + 4])
  end
end

local function one(i)
  local key, a = KEYS[6 + i], 7 * i - 1
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

local answers = each(#KEYS - 6, one, {})
settle(held)
return answers
