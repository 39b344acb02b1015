#!lua flags=allow-oom
-- Ends what has not started as cancelled; marks what runs.
-- KEYS: the four indexes, counts; then each task key; then each message key
-- ARGV: nonce (kept in each record that this call ends, so that the same call again gets the same answer), reason,
--       result TTL (ms)
-- Answer: orphans {incarnation, ID, …}; then for each 1 CANCELLED, 2 REQUESTED, 3 ENDED, 4 MISSING,
--         or the text of what is wrong with the record
local n = (#KEYS - 5) / 2
local nonce, reason, ttl = ARGV[1], ARGV[2], ARGV[3]

local function one(i)
  local key = KEYS[5 + i]
  local r = record(key, NONCE)
  local status = r[STATUS]
  if status == 'queued' or DELAYED[status] then
    end_outside(key, KEYS[5 + n + i], r, 'cancelled', ttl, 'ca', reason)
    call('HSET', key, 'nc', nonce)
    return 1
  elseif status == 'processing' then
    if not r[CANCEL] then call('HSET', key, 'ca', reason) end
    return 2
  elseif status == 'cancelled' and r[NONCE] == nonce then
    return 1
  elseif ENDED[status] then
    return 3
  elseif not status then
    return 4
  end
  return 'status is ' .. status
end

local answers = each(n, one, {orphans})
settle()
return answers
