#!lua flags=allow-oom
-- The only way to start a run: gives leases, each under a new fence; rebuilds missing records from their messages.
-- KEYS: the four indexes, counts, held, epoch; then each task key; with messages also each message key
-- ARGV: nonce, worker ID, incarnation, lease (ms), lost limit, result TTL (ms),
--       no lease counts as ended 1|0, with messages 1|0; for each: digest ('': not known);
--       with messages instead: task, queue, digest, submitted_at (ms, 0: not known), position, body
-- Answer: now (ms), fence, orphans {incarnation, ID, …}; then for each
--   attempt > 0: RUN under that fence from now   0: DONE   -1: needs its message   -2: LATER   -3: TOO_OLD
--   -5: this message has other arguments than the record
--   {1, fence, attempt, 0, lost, started_at}: RUN   {2, 0, attempt, wait_ms, lost, started_at}: BUSY
--   {3, 0, attempt, 0, lost, 0}: POISON             text: what is wrong with the record
local held, epoch = KEYS[6], KEYS[7]
local nonce, worker, incarnation = ARGV[1], ARGV[2], ARGV[3]
local lost_limit, ttl, calm, full = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7] == '1', ARGV[8] == '1'
local n = full and (#KEYS - 7) / 2 or #KEYS - 7
local deadline = text(now + ARGV[4])
local common = text(now_us)
local holds, held_count = {}, 0

local function lease(key, id, fence, attempt, ...)
  put(OPEN, id, deadline)
  holds[held_count + 1], holds[held_count + 2] = id, fence
  held_count = held_count + 2
  call('HSET', key, 'st', 'processing', 'fe', fence, 'at', attempt, 'dl', deadline, 'nc', nonce, 'wk', worker,
    'in', incarnation, 'sd', now_text, ...)
end

local function run(key, id, r, lost)
  local fence = common
  local attempt = (tonumber(r[ATTEMPT]) or 0) + 1
  local before = tonumber(r[FENCE]) or 0
  if before >= now_us then fence = text(before + 1) end
  if r[INCARNATION] ~= incarnation then orphan(id, r[INCARNATION]) end
  if lost > 0 then
    lease(key, id, fence, attempt, 'lo', lost)
  else
    lease(key, id, fence, attempt)
  end
  if attempt > 1 or r[RELEASED] then call('HDEL', key, 'rl', 'lf', 'pg', 'no') end
  if r[STATUS] ~= 'processing' then
    drop(DELAYED[r[STATUS]] and SCHEDULED or READY, id)
    count(r[QUEUE], r[STATUS], -1)
    count(r[QUEUE], 'processing', 1)
  end
  if fence == common and lost == 0 then return attempt end
  return {1, tonumber(fence), attempt, 0, lost, now}
end

local function run_missing(i, key, id)
  if not full then return -1 end
  if not rebuild(key, KEYS[7 + n + i], 6 * i + 3, 'processing', epoch, ttl) then return -3 end
  lease(key, id, common, 1)
  return 1
end

-- The same call again, because its reply was lost: the same lease, for its full length from now.
local function again(key, id, r)
  put(OPEN, id, deadline)
  call('HSET', key, 'dl', deadline)
  local started_at = tonumber(call('HGET', key, 'sd')) or now
  return {1, tonumber(r[FENCE]), tonumber(r[ATTEMPT]), 0, tonumber(r[LOST]) or 0, started_at}
end

local function taken_over(i, key, id, r)
  local lost, failed = lose(key, r, lost_limit, ttl)
  if failed then return {3, 0, tonumber(r[ATTEMPT]) or 1, 0, lost, 0} end
  return run(key, id, r, lost)
end

-- The common case: a record that no worker has claimed before, of which few fields must be read.
local function first_run(key, id, queue, released)
  drop(released and READY or WAITING, id)
  if released then call('HDEL', key, 'rl', 'no') end
  lease(key, id, common, 1)
  count(queue, 'queued', -1)
  count(queue, 'processing', 1)
  return 1
end

local function running(i, key, id, r)
  if r[NONCE] == nonce then return again(key, id, r) end
  local left = (tonumber(r[DEADLINE]) or 0) - now
  if left <= 0 and calm then left = tonumber(ARGV[4]) end
  if left > 0 then
    return {2, 0, tonumber(r[ATTEMPT]) or 1, left, tonumber(r[LOST]) or 0, 0}
  end
  if r[CANCEL] then return cancelled(key, full and KEYS[7 + n + i], r, ttl) end
  return taken_over(i, key, id, r)
end

local function waiting(i, key, id, r)
  if DELAYED[r[STATUS]] and (tonumber(r[DEADLINE]) or 0) > now then return -2 end
  if r[CANCEL] then return cancelled(key, full and KEYS[7 + n + i], r, ttl) end
  return run(key, id, r, tonumber(r[LOST]) or 0)
end

local function one(i)
  local key = KEYS[7 + i]
  local id = sub(key, -36)
  local status, queue, fence, released, recorded = unpack(call('HMGET', key, 'st', 'qu', 'fe', 'rl', 'ha'))
  local digest = ARGV[full and 6 * i + 5 or 8 + i]
  if ENDED[status] then
    return 0
  elseif not status then
    return run_missing(i, key, id)
  elseif recorded and recorded ~= digest and digest ~= '' then
    return -5  -- the ID was submitted with other arguments after the store had forgotten it
  elseif status == 'queued' and not fence then
    return first_run(key, id, queue, released)
  elseif status == 'queued' or DELAYED[status] then
    return waiting(i, key, id, record(key, RELEASED))
  elseif status == 'processing' then
    return running(i, key, id, record(key, RELEASED))
  end
  return 'status is ' .. status
end

local answers = each(n, one, {now, now_us, orphans})
settle()
if held_count > 0 then redis.pcall('HSET', held, unpack(holds)) end
return answers
