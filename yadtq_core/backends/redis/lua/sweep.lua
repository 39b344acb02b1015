#!lua flags=allow-oom
-- Looks at the records that are due: each becomes ready, ends, or is looked at again after a grace. Each score is
-- read again, so that any number of workers can sweep.
-- KEYS: the four indexes, counts; then each task key; then each message key
-- ARGV: publish grace (ms), lost limit, result TTL (ms), time to the next look at a damaged record (ms)
-- Answer: orphans {incarnation, ID, …}, how many became ready; then for each 0 (nothing more to do),
--         {1 its lease had ended, 2 it failed and needs a dead letter, 3 both; task, queue},
--         or the text of what is wrong with the record
local n = (#KEYS - 5) / 2
local lost_limit, ttl = tonumber(ARGV[2]), tonumber(ARGV[3])
local pushed, damaged = text(now + ARGV[1]), text(now + ARGV[4])
local ready = 0
local ids = {}
for i = 1, n do ids[i] = sub(KEYS[5 + i], -36) end
local open, scheduled = call('ZMSCORE', OPEN, unpack(ids)), call('ZMSCORE', SCHEDULED, unpack(ids))

local function is_due(score)
  return score and tonumber(score) <= now
end

local function found(code, r)
  return {code, r[TASK] or '', r[QUEUE] or 'default'}
end

local function make_ready(i, key, r, score, ...)
  move(READY, ids[i], score)
  ready = ready + 1
  call('HSET', key, 'st', 'queued', 'rl', 1, ...)
  if r[STATUS] ~= 'queued' then
    count(r[QUEUE], r[STATUS], -1)
    count(r[QUEUE], 'queued', 1)
  end
  return 0
end

-- The fence stays: a late extend or finish with it is accepted until the next claim, and takes the loss back.
local function lease_over(i, key, r)
  local lost, failed = lose(key, r, lost_limit, ttl)
  if failed then
    put(OPEN, ids[i], pushed)
    return found(3, r)
  end
  make_ready(i, key, r, first_text, 'lo', lost, 'lf', r[FENCE] or 0)
  return found(1, r)
end

local function waits_on(i, r, until_ms)
  move(DELAYED[r[STATUS]] and SCHEDULED or OPEN, ids[i], text(until_ms))
  return 0
end

local function one(i)
  local key = KEYS[5 + i]
  if not is_due(open[i]) and not is_due(scheduled[i]) then return 0 end  -- another sweep was first
  local r = record(key, TASK)
  local status = r[STATUS]
  local waits = (status == 'processing' or DELAYED[status]) and tonumber(r[DEADLINE]) or 0
  if waits > now then
    return waits_on(i, r, waits)
  elseif not status or ENDED[status] and status ~= 'failed' then
    drop_everywhere(ids[i])
    forget_message(KEYS[5 + n + i])
    return 0
  elseif status == 'failed' then
    move(OPEN, ids[i], pushed)
    return found(2, r)
  elseif r[CANCEL] then
    return cancelled(key, KEYS[5 + n + i], r, ttl)
  elseif status == 'queued' then
    return make_ready(i, key, r, first_text)
  elseif status == 'processing' then
    return lease_over(i, key, r)
  elseif DELAYED[status] then
    return make_ready(i, key, r, r[DEADLINE] or now_text, 'fe', text((tonumber(r[FENCE]) or 0) + 1))
  end
  error('status is ' .. status, 0)
end

local answers = {orphans, 0}
for i = 1, n do
  local fine, answer = pcall(one, i)
  if not fine then move(OPEN, ids[i], damaged) end
  answers[i + 2] = fine and answer or why(answer)
end
settle()
answers[2] = ready
return answers
