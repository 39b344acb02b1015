#!lua flags=allow-oom
-- Ends what has not started as cancelled; marks what runs.
-- KEYS: open, counts; then each task key; then each message key
-- ARGV: nonce (kept in what this call ends, so that the same call again gets the same answer), reason, result TTL (ms)
-- Answer: orphans {incarnation, ID, …}; then for each 1 CANCELLED, 2 REQUESTED, 3 ENDED, 4 MISSING,
--         or the text of what is wrong with the record
local open, counts = KEYS[1], KEYS[2]
local n = (#KEYS - 2) / 2
local nonce, reason, ttl = ARGV[1], ARGV[2], ARGV[3]

local function one(i)
  local key = KEYS[2 + i]
  local r = call('HMGET', key, 'st', 'qu', 'fe', 'in', 'nc', 'ca')
  local status = r[1]
  if status == 'queued' or status == 'scheduled' then
    end_outside(key, KEYS[2 + n + i], {queue = r[2], status = status, fence = tonumber(r[3]), incarnation = r[4]},
      'cancelled', ttl, 'ca', reason)
    call('HSET', key, 'nc', nonce)
    return 1
  elseif status == 'processing' then
    if not r[6] then call('HSET', key, 'ca', reason) end
    return 2
  elseif status == 'cancelled' and r[5] == nonce then
    return 1
  elseif status == 'success' or status == 'failed' or status == 'cancelled' then
    return 3
  elseif not status then
    return 4
  end
  return 'status is ' .. status
end

local answers = {orphans}
for i = 1, n do
  local fine, answer = pcall(one, i)
  answers[i + 1] = fine and answer or why(answer)
end
settle(open, counts)
return answers
