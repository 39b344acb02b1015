#!lua flags=allow-oom
-- A claim without a lease: makes each record ready for any worker with a free slot.
-- KEYS: the four indexes, counts, epoch; then each task key; with messages also each message key
-- ARGV: lost limit, result TTL (ms), with messages 1|0;
--       with messages for each: task, queue, digest, submitted_at (ms, 0: not known), position, body
-- Answer: now (ms), 0, orphans {incarnation, ID, …}; then for each
--   0: DONE   -1: needs its message   -2: LATER   -3: TOO_OLD   -4: OFFERED   {2, …}: BUSY   {3, …}: POISON
--   text: what is wrong with the record
local epoch = KEYS[6]
local lost_limit, ttl, full = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3] == '1'
local n = full and (#KEYS - 6) / 2 or #KEYS - 6

local function offered(key, id, r, ...)
  move(READY, id, now_text)
  call('HSET', key, 'st', 'queued', 'rl', 1, ...)
  if r[STATUS] ~= 'queued' then
    count(r[QUEUE], r[STATUS], -1)
    count(r[QUEUE], 'queued', 1)
  end
  return -4
end

local function offer_missing(i, key, id)
  if not full then return -1 end
  if not rebuild(key, KEYS[6 + n + i], 6 * i - 2, 'queued', epoch, ttl) then return -3 end
  move(READY, id, now_text)
  call('HSET', key, 'rl', 1)
  return -4
end

-- As in a sweep the fence stays, so that the outcome of the lost worker counts until the next claim.
local function lease_over(key, id, r)
  local lost, failed = lose(key, r, lost_limit, ttl)
  if failed then return {3, 0, tonumber(r[ATTEMPT]) or 1, 0, lost, 0} end
  return offered(key, id, r, 'lo', lost, 'lf', r[FENCE] or 0)
end

local function one(i)
  local key = KEYS[6 + i]
  local id = sub(key, -36)
  local r = record(key, LOST)
  local status, deadline = r[STATUS], tonumber(r[DEADLINE]) or 0
  if ENDED[status] then
    return 0
  elseif not status then
    return offer_missing(i, key, id)
  elseif not UNFINISHED[status] then
    return 'status is ' .. status
  elseif status == 'processing' and deadline > now then
    return {2, 0, tonumber(r[ATTEMPT]) or 1, deadline - now, tonumber(r[LOST]) or 0, 0}
  elseif DELAYED[status] and deadline > now then
    return -2
  elseif r[CANCEL] then
    return cancelled(key, full and KEYS[6 + n + i], r, ttl)
  elseif status == 'queued' then
    return offered(key, id, r)
  elseif status == 'processing' then
    return lease_over(key, id, r)
  end
  return offered(key, id, r, 'fe', text((tonumber(r[FENCE]) or 0) + 1))
end

local answers = each(n, one, {now, 0, orphans})
settle()
return answers
