#!lua flags=allow-oom
-- Closes failed records whose dead letters are acknowledged: drops message and index entry, and starts the expiry.
-- KEYS: open; then each task key; then each message key   ARGV: result TTL (ms)
-- Answer: for each 1, or the text of what is wrong with the record
local open = KEYS[1]
local n = (#KEYS - 1) / 2

local function one(i)
  local key = KEYS[1 + i]
  local status = call('HGET', key, 'st')
  if status and status ~= 'failed' then return 1 end
  close(sub(key, -36), KEYS[1 + n + i])
  if status then call('PEXPIRE', key, ARGV[1]) end
  return 1
end

local answers = each(n, one, {})
settle(open)
return answers
