#!lua flags=allow-oom
-- Closes failed records whose dead letters are acknowledged: drops message and index entry, and starts the expiry.
-- KEYS: open, the only index of a failed record; then each task key; then each message key   ARGV: result TTL (ms)
-- Answer: for each 1, or the text of what is wrong with the record
local n = (#KEYS - 1) / 2

local function one(i)
  local key = KEYS[1 + i]
  local status = call('HGET', key, 'st')
  if status and status ~= 'failed' then return 1 end
  drop(OPEN, sub(key, -36))
  forget_message(KEYS[1 + n + i])
  if status then call('PEXPIRE', key, ARGV[1]) end
  return 1
end

local answers = each(n, one, {})
settle()
return answers
