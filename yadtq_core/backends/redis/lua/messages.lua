#!lua flags=allow-oom,no-writes
-- Reads kept messages.
-- KEYS: each task key; then each message key   ARGV: none
-- Answer: for each submitted_at (ms, 0: not known), message or ''
local n = #KEYS / 2

local function one(i)
  return tonumber(call('HGET', KEYS[i], 'sa')) or 0, call('GET', KEYS[n + i]) or ''
end

local answers = {}
for i = 1, n do
  local fine, submitted_at, message = pcall(one, i)
  answers[2 * i - 1], answers[2 * i] = fine and submitted_at or 0, fine and message or ''
end
return answers
