#!lua flags=allow-oom
-- Writes how runs ended, each only under its record's current fence.
-- KEYS: the four indexes, counts, held; then each task key; then each message key
-- ARGV: incarnation, result TTL (ms);
--       then for each: fence, code, payload, content type, beginning of a history line, delay (ms)
--       code: s success with the result as payload, n success with none, f failed with the error as payload,
--             c cancelled, r retry after the delay
-- Answer: for each 1 OK, 2 ALREADY, 3 FENCED, 4 MISSING, or the text of what is wrong with the record
local held = KEYS[6]
local n = (#KEYS - 6) / 2
local incarnation, ttl = ARGV[1], ARGV[2]
local WAITERS = 4  -- read here in place of the incarnation

local function attempt_of(key)
  return tonumber(call('HGET', key, 'at')) or 1
end

local function closing(i, key, id, r, status, ...)
  forget_message(KEYS[6 + n + i])
  call('HDEL', key, 'nc', 'in', 'dl', 'po')
  call('HSET', key, 'st', status, 'fi', now_text, ...)
  call('PEXPIRE', key, ttl)
  count(r[QUEUE], r[STATUS], -1)
  count('', status, 1)
  if r[WAITERS] then
    call('HDEL', key, 'wt')
    push_end(id, r[WAITERS])
  end
end

local function failing(key, id, r, a)
  put(OPEN, id, now_text)
  call('HSET', key, 'st', 'failed', 'fi', now_text, 'er', ARGV[a + 2])
  call('HDEL', key, unpack(TRANSIENT))
  count(r[QUEUE], r[STATUS], -1)
  count('', 'failed', 1)
  remember(key, ARGV[a + 4], attempt_of(key), now)
  push_end(id, r[WAITERS])
end

-- The earlier message has been consumed, so its position says nothing more.
local function retrying(key, id, r, a)
  local due = text(now + ARGV[a + 5])
  put(SCHEDULED, id, due)
  call('HSET', key, 'st', 'scheduled', 'dl', due)
  call('HDEL', key, 'nc', 'in', 'po', 'rl', 'un', 'pg', 'no')
  count(r[QUEUE], r[STATUS], -1)
  count(r[QUEUE], 'scheduled', 1)
  remember(key, ARGV[a + 4], attempt_of(key), now)
end

local function write(i, key, id, r, a)
  local code = ARGV[a + 1]
  drop(OPEN, id)
  if r[STATUS] == 'queued' then alive(key, id, r[FENCE]) end
  if code == 's' and ARGV[a + 3] == '' then
    closing(i, key, id, r, 'success', 're', ARGV[a + 2])
  elseif code == 's' then
    closing(i, key, id, r, 'success', 're', ARGV[a + 2], 'ct', ARGV[a + 3])
  elseif code == 'n' then
    closing(i, key, id, r, 'success')
  elseif code == 'f' then
    failing(key, id, r, a)
  elseif code == 'c' or call('HEXISTS', key, 'ca') == 1 then
    closing(i, key, id, r, 'cancelled')
  else
    retrying(key, id, r, a)
  end
end

local function one(i)
  local key, a = KEYS[6 + i], 6 * i - 3
  local id = sub(key, -36)
  local r = call('HMGET', key, 'st', 'qu', 'fe', 'wt')
  local status = r[STATUS]
  if not status then
    let_go(id)
    return 4
  end
  if r[FENCE] ~= ARGV[a] then
    if call('HGET', key, 'in') ~= incarnation then let_go(id) end
    return 3
  end
  let_go(id)
  if status == 'processing' or status == 'queued' then
    write(i, key, id, r, a)
    return 1
  elseif ENDED[status] or DELAYED[status] then
    return 2
  end
  return 'status is ' .. status
end

local answers = each(n, one, {})
settle(held)
return answers
