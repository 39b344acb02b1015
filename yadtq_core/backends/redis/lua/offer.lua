#!lua flags=allow-oom
-- A claim with a lease of nothing: leaves each to whoever has a free slot, by the next sweep.
-- KEYS: open, counts, epoch; then each task key; with messages also each message key
-- ARGV: lost limit, result TTL (ms), with messages 1|0;
--       with messages for each: task, queue, digest, submitted_at (ms, 0: not known), position, body
-- Answer: now (ms), 0, orphans {incarnation, ID, …}; then for each
--   0: DONE   -1: needs its message   -2: LATER   -3: TOO_OLD   -4: OFFERED   {2, …}: BUSY   {3, …}: POISON
--   text: what is wrong with the record
local open, counts, epoch = KEYS[1], KEYS[2], KEYS[3]
local lost_limit, ttl, full = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local n = full and (#KEYS - 3) / 2 or #KEYS - 3

local function offered(key, id, r, ...)
  look_at(id, now_text)
  call('HSET', key, 'st', 'queued', 'rl', 1, ...)
  if r[1] ~= 'queued' then
    count(r[2], r[1], -1)
    count(r[2], 'queued', 1)
  end
  return -4
end

local function rebuild(i, key, id)
  if not full then return -1 end
  local a = 6 * i - 2
  local submitted_at = tonumber(ARGV[a + 3])
  if too_old(epoch, submitted_at, ttl) then return -3 end
  if submitted_at <= 0 then submitted_at = now end
  look_at(id, now_text)
  call('SET', KEYS[3 + n + i], ARGV[a + 5])
  call('HSET', key, 'st', 'queued', 'rl', 1, 'tk', ARGV[a], 'ha', ARGV[a + 2], 'sa', text(submitted_at))
  if ARGV[a + 1] ~= 'default' then call('HSET', key, 'qu', ARGV[a + 1]) end
  if ARGV[a + 4] ~= '' then call('HSET', key, 'po', ARGV[a + 4]) end
  count(ARGV[a + 1], 'queued', 1)
  return -4
end

local function cancelled(i, key, r)
  if not full then return -1 end
  end_outside(key, KEYS[3 + n + i], {queue = r[2], status = r[1], fence = tonumber(r[3]), incarnation = r[9]},
    'cancelled', ttl)
  return 0
end

-- As the sweep does it: the fence stays, so that the lost worker's outcome still counts until somebody claims.
local function lease_over(i, key, id, r)
  if r[8] then return cancelled(i, key, r) end
  local lost, attempt = (tonumber(r[7]) or 0) + 1, tonumber(r[4]) or 1
  remember_lost(key, attempt, tonumber(r[5]) or now)
  if lost <= lost_limit then return offered(key, id, r, 'lo', lost) end
  end_outside(key, nil, {queue = r[2], status = r[1], fence = tonumber(r[3]), incarnation = r[9]},
    'failed', ttl, 'lo', lost, 'er', worker_lost(lost))
  return {3, 0, attempt, 0, lost, 0}
end

local function one(i)
  local key = KEYS[3 + i]
  local id = sub(key, -36)
  local r = call('HMGET', key, 'st', 'qu', 'fe', 'at', 'dl', 'nc', 'lo', 'ca', 'in')
  local status = r[1]
  if status == 'queued' then
    if r[8] then return cancelled(i, key, r) end
    return offered(key, id, r)
  elseif status == 'processing' then
    local left = (tonumber(r[5]) or 0) - now
    if left > 0 then return {2, 0, tonumber(r[4]) or 1, left, tonumber(r[7]) or 0, 0} end
    return lease_over(i, key, id, r)
  elseif status == 'scheduled' then
    if (tonumber(r[5]) or 0) > now then return -2 end
    if r[8] then return cancelled(i, key, r) end
    return offered(key, id, r, 'fe', text((tonumber(r[3]) or 0) + 1))
  elseif status == 'success' or status == 'failed' or status == 'cancelled' then
    return 0
  elseif not status then
    return rebuild(i, key, id)
  end
  return 'status is ' .. status
end

local answers = {now, 0, orphans}
for i = 1, n do
  local fine, answer = pcall(one, i)
  answers[i + 3] = fine and answer or why(answer)
end
settle(open, counts)
return answers
