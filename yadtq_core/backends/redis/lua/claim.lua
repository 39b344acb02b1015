#!lua flags=allow-oom
-- The one way to run anything: gives leases, each under a new fence; rebuilds missing records from their messages.
-- KEYS: open, counts, held, epoch; then each task key; with messages also each message key
-- ARGV: nonce, worker ID, incarnation, lease (ms), lost limit, result TTL (ms),
--       nothing counts as stale 1|0, with messages 1|0; for each: digest ('': not known);
--       with messages instead: task, queue, digest, submitted_at (ms, 0: not known), position, body
-- Answer: now (ms), fence, orphans {incarnation, ID, …}; then for each
--   attempt > 0: RUN under that fence from now   0: DONE   -1: needs its message   -2: LATER   -3: TOO_OLD
--   -5: this message has other arguments than the record
--   {1, fence, attempt, 0, lost, started_at}: RUN   {2, 0, attempt, wait_ms, lost, started_at}: BUSY
--   {3, 0, attempt, 0, lost, 0}: POISON             text: what is wrong with the record
local open, counts, held, epoch = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local nonce, worker, incarnation = ARGV[1], ARGV[2], ARGV[3]
local lost_limit, ttl, calm, full = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1', ARGV[8] == '1'
local n = full and (#KEYS - 4) / 2 or #KEYS - 4
local deadline = text(now + ARGV[4])
local common = text(now_us)
local holds, held_count = {}, 0

local function lease(key, id, fence, attempt, ...)
  look_at(id, deadline)
  holds[held_count + 1], holds[held_count + 2] = id, fence
  held_count = held_count + 2
  call('HSET', key, 'st', 'processing', 'fe', fence, 'at', attempt, 'dl', deadline, 'nc', nonce, 'wk', worker,
    'in', incarnation, 'sd', now_text, ...)
end

local function run(key, id, r, lost)
  local fence = common
  local attempt = (tonumber(r[4]) or 0) + 1
  local before = tonumber(r[3]) or 0
  if before >= now_us then fence = text(before + 1) end
  if r[9] ~= incarnation then orphan(id, r[9]) end
  if lost > 0 then
    lease(key, id, fence, attempt, 'lo', lost)
  else
    lease(key, id, fence, attempt)
  end
  if attempt > 1 or r[10] then call('HDEL', key, 'rl', 'ck', 'pg', 'no') end
  if r[1] ~= 'processing' then
    count(r[2], r[1], -1)
    count(r[2], 'processing', 1)
  end
  if fence == common and lost == 0 then return attempt end
  return {1, tonumber(fence), attempt, 0, lost, now}
end

local function rebuild(i, key, id)
  if not full then return -1 end
  local a = 6 * i + 3
  local submitted_at = tonumber(ARGV[a + 3])
  if too_old(epoch, submitted_at, ttl) then return -3 end
  if submitted_at <= 0 then submitted_at = now end
  call('SET', KEYS[4 + n + i], ARGV[a + 5])
  lease(key, id, common, 1, 'tk', ARGV[a], 'ha', ARGV[a + 2], 'sa', text(submitted_at))
  if ARGV[a + 1] ~= 'default' then call('HSET', key, 'qu', ARGV[a + 1]) end
  if ARGV[a + 4] ~= '' then call('HSET', key, 'po', ARGV[a + 4]) end
  count(ARGV[a + 1], 'processing', 1)
  return 1
end

-- The same call again, because its reply was lost: the same lease, live for its full length.
local function again(key, id, r)
  look_at(id, deadline)
  call('HSET', key, 'dl', deadline)
  return {1, tonumber(r[3]), tonumber(r[4]), 0, tonumber(r[7]) or 0, tonumber(call('HGET', key, 'sd')) or now}
end

local function cancelled(i, key, r)
  if not full then return -1 end
  end_outside(key, KEYS[4 + n + i], {queue = r[2], status = r[1], fence = tonumber(r[3]), incarnation = r[9]},
    'cancelled', ttl)
  return 0
end

local function taken_over(i, key, id, r)
  if r[8] then return cancelled(i, key, r) end
  local lost, attempt = (tonumber(r[7]) or 0) + 1, tonumber(r[4]) or 1
  remember_lost(key, attempt, tonumber(r[5]) or now)
  if lost <= lost_limit then return run(key, id, r, lost) end
  end_outside(key, nil, {queue = r[2], status = r[1], fence = tonumber(r[3]), incarnation = r[9]},
    'failed', ttl, 'lo', lost, 'er', worker_lost(lost))
  return {3, 0, attempt, 0, lost, 0}
end

-- The common case: a record that nobody has claimed before, so most fields need not be read.
local function first_run(key, id, queue, released)
  if released then call('HDEL', key, 'rl', 'ck', 'no') end
  lease(key, id, common, 1)
  count(queue, 'queued', -1)
  count(queue, 'processing', 1)
  return 1
end

local function one(i)
  local key = KEYS[4 + i]
  local id = sub(key, -36)
  local known = call('HMGET', key, 'st', 'fe', 'qu', 'rl', 'ha')
  local digest = ARGV[full and 6 * i + 5 or 8 + i]
  local status = known[1]
  if status == 'success' or status == 'failed' or status == 'cancelled' then
    return 0
  elseif not status then
    return rebuild(i, key, id)
  elseif known[5] and known[5] ~= digest and digest ~= '' then
    return -5  -- the store had forgotten this ID when it was submitted with other arguments
  elseif status == 'queued' and not known[2] then
    return first_run(key, id, known[3], known[4])
  end
  local r = call('HMGET', key, 'st', 'qu', 'fe', 'at', 'dl', 'nc', 'lo', 'ca', 'in', 'rl')
  if status == 'queued' then
    if r[8] then return cancelled(i, key, r) end
    return run(key, id, r, tonumber(r[7]) or 0)
  elseif status == 'processing' then
    if r[6] == nonce then return again(key, id, r) end
    local left = (tonumber(r[5]) or 0) - now
    if left <= 0 and calm then left = tonumber(ARGV[4]) end
    if left > 0 then
      return {2, 0, tonumber(r[4]) or 1, left, tonumber(r[7]) or 0, 0}
    end
    return taken_over(i, key, id, r)
  elseif status == 'scheduled' then
    if (tonumber(r[5]) or 0) > now then return -2 end
    if r[8] then return cancelled(i, key, r) end
    return run(key, id, r, tonumber(r[7]) or 0)
  end
  return 'status is ' .. status
end

local answers = {now, now_us, orphans}
for i = 1, n do
  local fine, answer = pcall(one, i)
  answers[i + 3] = fine and answer or why(answer)
end
settle(open, counts)
if held_count > 0 then redis.pcall('HSET', held, unpack(holds)) end
return answers
