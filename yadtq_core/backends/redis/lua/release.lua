#!lua flags=allow-oom
-- Takes records back without an outcome, each only under its current fence, which it raises by one.
-- KEYS: open, counts, held; then each task key
-- ARGV: incarnation, lost limit, unknown-task TTL (ms);
--       then for each: fence, reason, delay (ms), lost 1|0, note, beginning of a history line, error (if it fails;
--       without a note `worker lost N times`)
-- Answer: for each 1 OK, 3 FENCED, 4 MISSING, or the text of what is wrong with the record
local open, counts, held = KEYS[1], KEYS[2], KEYS[3]
local incarnation, lost_limit, unknown_ttl = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local over, overs = {}, 0
local ENDED = {success = true, failed = true, cancelled = true, scheduled = true}

local function let_go(id)
  overs = overs + 1
  over[overs] = id
end

local function fail(key, r, lost, failure)
  end_outside(key, nil, {queue = r[3], status = r[1], fence = tonumber(r[2])}, 'failed', 0, 'er', failure, 'lo', lost)
end

-- No attempt is counted for a run that did not begin.
local function give_back(key, id, r, lost, begun, status, due, note)
  look_at(id, due)
  local attempt = tonumber(r[4]) or 1
  call('HSET', key, 'st', status, 'fe', text(tonumber(r[2]) + 1), 'rl', 1, 'at', begun and attempt or attempt - 1)
  call('HDEL', key, 'nc', 'in', 'dl', 'pg', 'no')
  if not begun then call('HDEL', key, 'wk', 'sd') end
  if status == 'scheduled' then call('HSET', key, 'dl', due) end
  if lost > 0 then call('HSET', key, 'lo', lost) end
  if note ~= '' then call('HSET', key, 'no', note) end
  count(r[3], r[1], -1)
  count(r[3], status, 1)
end

local function release(key, id, r, a)
  local reason, delay, counted = ARGV[a + 1], tonumber(ARGV[a + 2]), ARGV[a + 3] == '1'
  local lost = (tonumber(r[5]) or 0) + (counted and 1 or 0)
  if counted then remember(key, ARGV[a + 5], tonumber(r[4]) or 1, now) end
  local unknown = reason == 'unknown_task'
  if counted and lost > lost_limit then
    return fail(key, r, lost, (ARGV[a + 4] ~= '' or unknown) and ARGV[a + 6] or worker_lost(lost))
  end
  if unknown and now - (tonumber(r[6]) or now) >= unknown_ttl then return fail(key, r, lost, ARGV[a + 6]) end
  local begun = not unknown and reason ~= 'unstarted'
  -- One that is to be cancelled does not wait: the next sweep ends it.
  if (unknown or delay > 0) and not r[8] then
    give_back(key, id, r, lost, begun, 'scheduled', text(now + delay), ARGV[a + 4])
  else
    give_back(key, id, r, lost, begun, 'queued', now_text, ARGV[a + 4])
  end
end

local function one(i)
  local key, a = KEYS[3 + i], 7 * i - 3
  local id = sub(key, -36)
  local r = call('HMGET', key, 'st', 'fe', 'qu', 'at', 'lo', 'sa', 'in', 'ca')
  local status = r[1]
  if not status then
    let_go(id)
    return 4
  end
  if r[2] ~= ARGV[a] then
    if r[7] ~= incarnation then let_go(id) end
    -- One higher: this very release has been here before, or somebody else has taken it from this run.
    return tonumber(r[2]) == tonumber(ARGV[a]) + 1 and 1 or 3
  end
  let_go(id)
  if status == 'processing' or status == 'queued' then
    release(key, id, r, a)
    return 1
  elseif ENDED[status] then
    return 1
  end
  return 'status is ' .. status
end

local answers = {}
for i = 1, #KEYS - 3 do
  local fine, answer = pcall(one, i)
  answers[i] = fine and answer or why(answer)
end
settle(open, counts)
if overs > 0 then redis.pcall('HDEL', held, unpack(over)) end
return answers
