#!lua flags=allow-oom,no-writes
-- Tells which records have ended, for messages that are read again.
-- KEYS: each task key   ARGV: none
-- Answer: for each 1 (has ended), 0 (has not, or does not exist), or the text of what is wrong with the record
local function one(i)
  return ENDED[call('HGET', KEYS[i], 'st')] and 1 or 0
end

return each(#KEYS, one, {})
